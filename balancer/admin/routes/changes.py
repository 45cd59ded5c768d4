"""Handlers that change something: pins, states and weights of backends, settling strays, trace passes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from balancer.admin import requests
from balancer.admin.call import ApiError, Call
from balancer.admin.server import ApiResponse
from balancer.admin.views import settling_facts
from balancer.errors import Refused
from balancer.overlay.entries import Entry
from balancer.overlay.overlay import Change, Pin, SetState, SetWeight, Steer, Unpin
from balancer.pool.tracing import Passes
from balancer.shared.log_level import set_level

TRACE_HEADER = "X-Balancer-Trace"
"""The request header that carries a trace pass."""


async def digest(call: Call) -> ApiResponse:
    """Return the digest of a token, or of a prefix of tokens."""
    body = call.body(requests.TokenBody)
    found, prefix = call.digest(body.token, prefix=body.prefix)
    return call.answer({"digest": found, "prefix": prefix})


async def pin(call: Call) -> ApiResponse:
    """Pin a token to a backend."""
    body = call.body(requests.PinBody)
    found, prefix = call.digest(body.token, prefix=body.prefix)
    until = None if body.seconds is None else call.services.wall() + body.seconds
    change = Pin(digest=found, prefix=prefix, backend=body.backend, until=until, reason=body.reason, author=call.who)
    return await _changed(call, change, {"digest": found, "prefix": prefix, "until": until}, status=201)


async def unpin(call: Call) -> ApiResponse:
    """Remove a pin."""
    prefix = call.number("prefix", 0, 65536) or None
    found = call.args["digest"]
    pins = call.pool_state.overlay.pins.values()
    if not any((each.digest, each.prefix) == (found, prefix) for each in pins):
        raise ApiError(404, "there is no such pin; `balancer pins` lists them")
    return await _changed(call, Unpin(digest=found, prefix=prefix), {"digest": found, "prefix": prefix})


async def set_state(call: Call) -> ApiResponse:
    """Set the state of a backend: ready, drain or maint; with ``dry_run``, only show whose tunnels it would close."""
    body = call.body(requests.StateBody)
    change = SetState(backend=call.backend, state=body.state, cut_after=body.cut_after)
    if not body.dry_run:
        return await _backend_changed(call, change)
    cut_at = call.services.controller.try_state(call.pool, change)
    leases = list(call.pool_state.leases.live()) if body.state != "ready" else []
    users = [(lease, sum(place == change.backend for place in lease.sessions.values())) for lease in leases]
    digest = call.services.pools.digest
    listed = [{"digest": digest(lease.token), "tunnels": tunnels} for lease, tunnels in users if tunnels]
    nobodys = sum(place == change.backend for place in call.pool_state.leases.without_token.values())
    return call.answer(
        {
            "dry_run": True,
            "pool": call.pool,
            "backend": change.backend,
            "state": body.state,
            "cut_at": cut_at,
            "users": listed,
            "without_token": nobodys if body.state != "ready" else 0,
        }
    )


async def set_weight(call: Call) -> ApiResponse:
    """Set the weight of a backend, at once or gradually."""
    body = call.body(requests.WeightBody)
    return await _backend_changed(call, SetWeight(backend=call.backend, weight=body.weight, over=body.over))


async def steer(call: Call) -> ApiResponse:
    """Pause, resume or roll back a weight that is changing."""
    return await _backend_changed(call, Steer(backend=call.backend, action=call.body(requests.RampBody).action))


async def settle(call: Call) -> ApiResponse:
    """Start to move strays home; this goes on after the answer."""
    rate = call.body(requests.SettleBody).rate
    work = await call.nursery.start(partial(call.services.evictions.settle, call.pool, rate))
    return call.answer({"settling": settling_facts(work)}, status=202)


async def stop_settling(call: Call) -> ApiResponse:
    """Stop moving strays home."""
    call.services.evictions.stop_settling(call.pool)
    return call.answer({"settling": settling_facts(call.services.evictions.settling(call.pool))})


async def trace(call: Call) -> ApiResponse:
    """Issue a pass that makes the balancer explain its decisions to one client."""
    until = int(call.services.wall() + call.body(requests.TraceBody).seconds)
    value = Passes(*call.services.registry.keys.passes).issue(until)
    return call.answer({"header": TRACE_HEADER, "value": value, "until": until})


async def set_log_level(call: Call) -> ApiResponse:
    """Change the log level until the daemon ends."""
    level = call.body(requests.LogLevelBody).level
    set_level(level)
    await call.services.registry.relevel(level)
    call.services.events.emit("log-level", f"messages from {level} on are written", level=level, who=call.who)
    return call.answer({"level": level})


async def drain(call: Call) -> ApiResponse:
    """Ask the balancer in front of this one for no new clients, or for new ones again; nothing else changes."""
    wanted = call.body(requests.DrainBody).drain
    try:
        call.services.activation.be_lame(call.who, lame=wanted)
    except OSError as error:
        raise Refused(f"this cannot be remembered: {error.strerror}") from None
    return call.answer({"drain": wanted})


def made(call: Call, entry: Entry) -> dict[str, Any]:
    """Return the journal entry of a change and the new version of the pool."""
    return {
        "pool": entry.pool,
        "seq": entry.seq,
        "who": entry.who,
        "before": entry.before,
        "after": entry.after,
        "version": call.services.pools.get(entry.pool).version,
    }


async def _changed(call: Call, change: Change, more: dict[str, Any], status: int = 200) -> ApiResponse:
    changes: Sequence[Change] = [change]
    entry = await call.services.controller.change(call.pool, changes, call.who, call.only_at)
    return call.answer({**made(call, entry), **more}, status)


async def _backend_changed(call: Call, change: SetState | SetWeight | Steer) -> ApiResponse:
    entry = await call.services.controller.change(call.pool, [change], call.who, call.only_at)
    return call.answer({**made(call, entry), "backend": call.views.backend(call.pool_state, change.backend)})
