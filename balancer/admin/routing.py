"""The routes of the admin API: handlers by path and method."""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from balancer.admin.call import ApiError, Call
from balancer.admin.openapi import document
from balancer.admin.routes import changes, plans, reload, sessions, upgrade, views
from balancer.admin.server import ApiRequest, ApiResponse
from balancer.control.compute import compute

RouteHandler = Callable[[Call], Awaitable[ApiResponse]]


async def description(call: Call) -> ApiResponse:
    """Return this OpenAPI document."""
    return call.answer(await compute(document, ROUTES))


HEALTH = {"/healthz", "/readyz"}
"""Paths that ``admin.health_listen`` answers."""
PUBLIC = {*HEALTH, "/metrics"}
"""Paths that ask for no token."""
ROUTES: dict[str, dict[str, RouteHandler]] = {
    "/healthz": {"GET": views.health},
    "/readyz": {"GET": views.ready},
    "/metrics": {"GET": views.metrics},
    "/v1/openapi.json": {"GET": description},
    "/v1/status": {"GET": views.status},
    "/v1/drain": {"PUT": changes.drain},
    "/v1/log-level": {"GET": views.log_level, "PUT": changes.set_log_level},
    "/v1/events": {"GET": views.events},
    "/v1/reload": {"GET": reload.last, "POST": reload.reload},
    "/v1/upgrade": {"GET": upgrade.last, "POST": upgrade.upgrade},
    "/v1/upgrade/finish": {"POST": upgrade.finish},
    "/v1/config": {"GET": reload.config},
    "/v1/config/diff": {"GET": reload.difference},
    "/v1/certificates": {"GET": reload.certificates},
    "/v1/sessions": {"GET": sessions.sessions},
    "/v1/sessions/{session}": {"DELETE": sessions.close},
    "/v1/pools": {"GET": views.pools},
    "/v1/pools/{pool}": {"GET": views.pool},
    "/v1/pools/{pool}/backends": {"GET": views.backends},
    "/v1/pools/{pool}/backends/{backend}/state": {"PUT": changes.set_state},
    "/v1/pools/{pool}/backends/{backend}/weight": {"PUT": changes.set_weight},
    "/v1/pools/{pool}/backends/{backend}/ramp": {"POST": changes.steer},
    "/v1/pools/{pool}/ring": {"GET": views.ring},
    "/v1/pools/{pool}/explain": {"POST": plans.explain},
    "/v1/pools/{pool}/digest": {"POST": changes.digest},
    "/v1/pools/{pool}/plan": {"POST": plans.make},
    "/v1/pools/{pool}/pins": {"GET": views.pins, "POST": changes.pin},
    "/v1/pools/{pool}/pins/{digest}": {"DELETE": changes.unpin},
    "/v1/pools/{pool}/strays": {"GET": views.strays},
    "/v1/pools/{pool}/settle": {"POST": changes.settle, "DELETE": changes.stop_settling},
    "/v1/pools/{pool}/journal": {"GET": views.journal},
    "/v1/plans/{plan}": {"GET": plans.show},
    "/v1/plans/{plan}/apply": {"POST": plans.apply},
    "/v1/trace": {"POST": changes.trace},
}
_PATTERNS = [
    (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", path)), path, methods) for path, methods in ROUTES.items()
]


def find_route(request: ApiRequest) -> tuple[RouteHandler, str, dict[str, str]]:
    """Return the handler for a request, the path it is for, and the values of that path's parameters.

    Raise ``ApiError`` if there is none.
    """
    method = "GET" if request.method == "HEAD" else request.method
    for pattern, path, methods in _PATTERNS:
        match = pattern.fullmatch(request.path)
        if match is not None:
            if method not in methods:
                allowed = ", ".join(["HEAD", *methods] if "GET" in methods else methods)
                raise ApiError(405, f"this path allows {allowed}", (("Allow", allowed),))
            return methods[method], path, {name: unquote(value) for name, value in match.groupdict().items()}
    raise ApiError(404, "no such path; start at /v1/status, or see /v1/openapi.json")
