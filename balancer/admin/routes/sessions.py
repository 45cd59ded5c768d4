"""Handlers that list and close open tunnels."""

from collections.abc import Mapping
from typing import Any

import trio

from balancer.admin.call import ApiError, Call
from balancer.admin.server import ApiResponse
from balancer.config.scalars import no_such

_LISTED = 1000
_MOST = 100_000


async def sessions(call: Call) -> ApiResponse:
    """List open tunnels, oldest first: all, or those of a ``pool``, ``backend`` or ``user`` (by digest)."""
    limit = call.number("limit", _LISTED, _MOST)
    wanted = {name: call.request.query[name] for name in ("pool", "backend", "user") if name in call.request.query}
    registry, digest = call.services.registry, call.services.pools.digest
    found: list[dict[str, Any]] = []
    for tunnel, (bytes_in, bytes_out) in await registry.sessions():
        opened = tunnel.opened
        session = {
            "session": f"{tunnel.worker.number}-{opened.session}",
            "pool": opened.pool,
            "listener": opened.listener,
            "user": digest(opened.token) if opened.token is not None else None,
            "backend": opened.backend,
            "client": opened.client,
            "since": opened.since,
            "seconds": trio.current_time() - tunnel.since,
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
        }
        if all(session[name] == value for name, value in wanted.items()):
            found.append(session)
    _refuse_unknown(call, wanted, {tunnel.opened.backend for tunnel in call.services.registry.tunnels()})
    found.sort(key=lambda each: -each["seconds"])
    return call.answer({"count": len(found), "sessions": found[:limit]})


def _refuse_unknown(call: Call, wanted: Mapping[str, str], used: set[str]) -> None:
    """Raise ``ApiError`` for a pool or a backend that does not exist: no tunnels there would be a misleading answer."""
    states = call.services.pools.states
    if wanted.get("pool", "") not in {"", *states, *call.services.registry.removed_pools()}:
        raise ApiError(404, no_such("pool", wanted["pool"], states))
    named = wanted.get("pool")
    pools = [pool for name, pool in states.items() if named in (None, name)]
    known = sorted({backend for pool in pools for backend in (*pool.backends, *pool.removed)})
    if wanted.get("backend", "") not in {"", *known, *used}:
        raise ApiError(404, no_such("backend", wanted["backend"], known))


async def close(call: Call) -> ApiResponse:
    """Close a tunnel; its user may reconnect at once."""
    worker, _, number = call.args["session"].partition("-")
    registry = call.services.registry
    attached = registry.workers.get(int(worker)) if worker.isdecimal() else None
    tunnel = attached.tunnels.get(int(number)) if attached is not None and number.isdecimal() else None
    if tunnel is None:
        raise ApiError(404, "there is no such session; `balancer sessions` lists them")
    registry.end(tunnel, f"ended by {call.who}")
    return call.answer({"session": call.args["session"], "ended": True})
