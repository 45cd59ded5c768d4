"""Handlers that explain placement, and that make, show and apply plans."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import trio

from balancer.admin import requests
from balancer.admin.call import ApiError, Call, as_text
from balancer.admin.routes.changes import made
from balancer.admin.server import ApiResponse
from balancer.control.attached_worker import RemoteTunnel
from balancer.control.evictions import CHUNK
from balancer.control.plans import LivePlan, live_explanation, past_explanation
from balancer.errors import Refused
from balancer.overlay.overlay import Change, Pin
from balancer.pool.leases import Lease
from balancer.ring.explain import Explanation
from balancer.ring.report import explain_json, explain_text, plan_json, plan_text

SVG = "image/svg+xml"
_CANDIDATES_SHOWN = 8
_MOVES_SHOWN, _MOVES_LISTED = 20, 1000
"""In text and in JSON."""


async def explain(call: Call) -> ApiResponse:
    """Explain where a token goes or went. The token is in the body and not in the answer."""
    body = call.body(requests.ExplainBody)
    token = await _token(call, body.token)
    digest = call.services.pools.digest(token)
    if body.at is not None and body.at > call.services.wall():
        raise ApiError(400, "at: expected a time in the past")
    if body.at is not None:
        found = await past_explanation(call.services.pools, call.pool, token, body.at)
        when = f"{datetime.fromtimestamp(body.at, UTC):%Y-%m-%d %H:%M:%S} UTC"
        words = f"user digest:{digest} at {when}, as the journal tells it (health and tunnels are not in it)"
        about: dict[str, Any] = {"digest": digest, "at": body.at}
    else:
        found = live_explanation(call.pool_state, token, trio.current_time())
        lease = call.pool_state.leases.get(token, trio.current_time())
        found_in = _token_from(lease)
        words = f"user digest:{digest}: {_presence(lease)}"
        if found_in:
            words += f"\ntoken found in: {', '.join(found_in)}"
        live = {"place": lease.place, "tunnels": len(lease.sessions)} if lease is not None else None
        about = {"digest": digest, "live": live, "token_from": found_in}
    if call.wants("text/plain"):
        return as_text(f"{words}\n{explain_text(call.pool, _shortened(found))}")
    return call.answer({**explain_json(call.pool, found), **about})


async def make(call: Call) -> ApiResponse:
    """Plan changes; nothing is changed."""
    body = call.body(requests.PlanBody)
    changes = [_authored(change, call.who) for change in body.changes]
    plan = await call.services.plans.make(call.pool, changes, body.to)
    return _shown(call, plan)


async def show(call: Call) -> ApiResponse:
    """Show a plan."""
    plan = _known(call)
    if call.wants(SVG):
        return ApiResponse(200, plan.picture.encode(), SVG)
    return _shown(call, plan)


async def apply(call: Call) -> ApiResponse:
    """Apply a plan, if the pool has not changed since."""
    plan = _known(call)
    entry = await call.services.plans.apply(plan.plan.id, call.who)
    return call.answer({**made(call, entry), "plan": plan.plan.id, "changes": _changes(plan.changes)})


def _known(call: Call) -> LivePlan:
    try:
        return call.services.plans.get(call.args["plan"])
    except Refused as error:
        raise ApiError(404, str(error)) from None


def _authored(change: Change, who: str) -> Change:
    """Set the author of pins, which is not for the client to choose."""
    return change.model_copy(update={"author": who}) if isinstance(change, Pin) else change


def _shown(call: Call, plan: LivePlan) -> ApiResponse:
    if call.wants("text/plain"):
        return as_text("\n".join(plan_lines(plan)))
    moves = [{"from": a, "to": b, "users": users} for (a, b), users in plan.moves.most_common(_MOVES_LISTED)]
    live = {
        "connected": plan.users,
        "moving": plan.moves.total(),
        "tunnels": plan.tunnels,
        "pairs": len(plan.moves),
        "moves": moves,
    }
    return call.answer(
        {
            **plan_json(plan.pool, plan.plan),
            "based_on": plan.based_on,
            "changes": _changes(plan.changes),
            "users": live,
        }
    )


def plan_lines(plan: LivePlan) -> list[str]:
    """Return a plan as text."""
    return [plan_text(plan.pool, plan.plan), *_users(plan)]


def _changes(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [change.model_dump(mode="json", exclude={"since"}) for change in changes]


def _users(plan: LivePlan) -> list[str]:
    """Return which connected users a plan affects, as text."""
    moving = plan.moves.total()
    head = f"{moving} of {plan.users} connected users would belong elsewhere, with {plan.tunnels} open tunnels"
    largest = plan.moves.most_common(_MOVES_SHOWN)
    moves = [f"  {a} -> {b}: {users}" for (a, b), users in largest]
    if rest := len(plan.moves) - len(largest):
        moves.append(f"  {rest} other pairs: {moving - sum(users for _, users in largest)}")
    stay = ["they stay where they are while connected; `balancer ring settle` sends them home"] if moving else []
    apply = [f"apply it: balancer ring apply {plan.plan.id}"] if plan.changes else []
    return [head, *moves, *stay, *apply]


def _shortened(found: Explanation) -> Explanation:
    """Return the first candidates, up to the one that would take over."""
    usable = [index for index, each in enumerate(found.candidates) if each.skipped is None]
    return replace(found, candidates=found.candidates[: max([_CANDIDATES_SHOWN - 1, *usable[:2]]) + 1])


def _token_from(lease: Lease | None) -> list[str]:
    """The places in requests where the tokens of a user's open tunnels were found."""
    tunnels = [each for each in lease.sessions if isinstance(each, RemoteTunnel)] if lease is not None else []
    return sorted({tunnel.opened.token_from for tunnel in tunnels} - {""})


def _presence(lease: Lease | None) -> str:
    if lease is None:
        return "not connected"
    if not lease.sessions:
        return f"left {lease.place} a moment ago"
    tunnels = len(lease.sessions)
    return f"{tunnels} open tunnel{'' if tunnels == 1 else 's'}, on {lease.place}"


async def _token(call: Call, text: str) -> bytes:
    """Return the token of a body; a digest is looked up among the connected users."""
    if not text.startswith("digest:"):
        return call.token(text)
    wanted, _ = call.digest(text)
    for number, lease in enumerate(call.pool_state.leases.live()):
        if number % CHUNK == CHUNK - 1:
            await trio.lowlevel.checkpoint()
        if call.services.pools.digest(lease.token) == wanted:
            return lease.token
    raise ApiError(404, "no connected user has this digest; who is not connected can only be found by the token itself")
