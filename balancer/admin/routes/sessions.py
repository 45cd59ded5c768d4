"""Who is connected where: open tunnels, which an operator may end."""

from typing import Any

from balancer.admin.call import ApiError, Call
from balancer.admin.server import ApiResponse

_LISTED = 1000
_MOST = 100_000


async def sessions(call: Call) -> ApiResponse:
    """Open tunnels, the oldest first: of a ``pool``, a ``backend``, a ``user`` by digest, or all."""
    limit = call.number("limit", _LISTED, _MOST)
    wanted = {name: call.request.query[name] for name in ("pool", "backend", "user") if name in call.request.query}
    found: list[dict[str, Any]] = []
    for worker, listed in (await call.services.registry.ask("sessions", _MOST)).items():
        found += [
            {**each, "session": f"{worker}-{each['session']}"}
            for each in listed
            if all(each[name] == value for name, value in wanted.items())
        ]
    found.sort(key=lambda each: each["since"])
    return call.answer({"count": len(found), "sessions": found[:limit]})


async def close(call: Call) -> ApiResponse:
    """End a tunnel; its user may come back at once."""
    worker, _, number = call.args["session"].partition("-")
    registry = call.services.registry
    attached = registry.workers.get(int(worker)) if worker.isdecimal() else None
    tunnel = attached.tunnels.get(int(number)) if attached is not None and number.isdecimal() else None
    if tunnel is None:
        raise ApiError(404, "there is no such session; `balancer sessions` lists them")
    registry.end(tunnel, f"ended by {call.who}")
    return call.answer({"session": call.args["session"], "ended": True})
