"""The admin API: its routes, who may use which, and what becomes of errors.

JSON, and text for people or a picture where a client asks for that with ``Accept``. GET changes nothing; whatever
changes something honours ``If-Match`` with the ``ETag`` of the pool. No token is ever in a URL or in an answer.
"""

import hmac
import logging
import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import trio

from balancer.admin.call import ApiError, Call, as_json
from balancer.admin.listeners import AdminListener, open_listeners, who
from balancer.admin.metrics import Metrics
from balancer.admin.openapi import document
from balancer.admin.periodic_counts import PeriodicCounts
from balancer.admin.requests import InvalidBody
from balancer.admin.routes import changes, plans, reload, sessions, views
from balancer.admin.server import ApiRequest, ApiResponse, serve
from balancer.admin.services import Services
from balancer.admin.views import Views
from balancer.config.model import Admin
from balancer.control.compute import compute
from balancer.control.placement_controller import Outdated
from balancer.errors import Refused

logger = logging.getLogger("balancer.admin")

RouteHandler = Callable[[Call], Awaitable[ApiResponse]]

HEAR_OUT = 1.0
"""Seconds for which a door that is to be closed still serves."""
AUTHOR = "balancer-author"
"""Request header: the name of whoever makes a change, for the journal."""
_AUTHOR = re.compile(r"[A-Za-z0-9@._+ -]{0,64}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:]*)(?::[0-9]+)?")


async def description(call: Call) -> ApiResponse:
    """This description."""
    return call.answer(await compute(document, ROUTES))


_PUBLIC = {"/healthz", "/readyz", "/metrics"}
ROUTES: dict[str, dict[str, RouteHandler]] = {
    "/healthz": {"GET": views.health},
    "/readyz": {"GET": views.ready},
    "/metrics": {"GET": views.metrics},
    "/v1/openapi.json": {"GET": description},
    "/v1/status": {"GET": views.status},
    "/v1/log-level": {"GET": views.log_level, "PUT": changes.set_log_level},
    "/v1/events": {"GET": views.events},
    "/v1/reload": {"GET": reload.last, "POST": reload.reload},
    "/v1/config": {"GET": reload.config},
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
    (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9][A-Za-z0-9._-]*)", path)), path, methods)
    for path, methods in ROUTES.items()
]


class AdminApi:
    """Serves the admin API through doors that may change while it runs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._scan = PeriodicCounts(services.controller, services.evictions)
        self._facts = Views(services, self._scan)
        self._metrics = Metrics(services, self._facts)
        self._open: dict[AdminListener, trio.CancelScope] = {}

    async def run(
        self, listeners: list[AdminListener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled, through ``listeners`` at first; all are closed then."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._scan.run)
            self.change_listeners(listeners)
            task_status.started()

    def prepare_listeners(self, admin: Admin) -> list[AdminListener]:
        """The doors for another configuration, those that are open already among them. Raises ``Refused``."""
        return open_listeners(admin, list(self._open))

    def close_unused(self, listeners: list[AdminListener]) -> None:
        """Close those of them that are not in use."""
        for listener in listeners:
            if listener not in self._open:
                listener.close()

    def change_listeners(self, listeners: list[AdminListener]) -> None:
        """Serve through these from now on; who has come through another one is heard out."""
        for listener in self._open.keys() - set(listeners):
            self._open.pop(listener).cancel()
        for listener in listeners:
            listener.token = listener.due
            if listener not in self._open:
                self._open[listener] = trio.CancelScope()
                self._nursery.start_soon(self._serve, listener, self._open[listener])
                logger.info("the admin API answers on %s", listener.name)

    async def _serve(self, listener: AdminListener, accepting: trio.CancelScope) -> None:
        desk = Handler(self._services, self._facts, self._metrics, self._nursery, listener)
        async with trio.open_nursery() as clients:
            try:
                with accepting:
                    await serve(listener.sock, desk, clients)
            finally:
                listener.close()
            clients.cancel_scope.deadline = trio.current_time() + HEAR_OUT


class Handler:
    """Answers what comes through one door."""

    def __init__(
        self, services: Services, facts: Views, metrics: Metrics, nursery: trio.Nursery, listener: AdminListener
    ) -> None:
        self._services = services
        self._facts = facts
        self._metrics = metrics
        self._nursery = nursery
        self._door = listener

    async def __call__(self, request: ApiRequest, sock: trio.socket.SocketType) -> ApiResponse:
        route = "no route"
        try:
            self._admit(request)
            handler, route, args = _find(request)
            author = request.headers.get(AUTHOR, "")
            if not _AUTHOR.fullmatch(author):
                raise ApiError(400, f"{AUTHOR}: expected at most 64 letters, digits, spaces and @ . _ + -")
            by = who(sock, author)
            if request.path != "/healthz":
                await self._services.registry.refresh()
            call = Call(self._services, self._facts, self._metrics, self._nursery, request, args, by)
            return await handler(call)
        except ApiError as error:
            return _error(error.status, str(error), error.headers)
        except InvalidBody as error:
            return _error(400, str(error))
        except Outdated as error:
            return _error(412 if "if-match" in request.headers else 409, str(error))
        except Refused as error:
            return _error(409, str(error))
        except Exception:  # a fault of ours: the client learns no more than that, the log everything
            logger.exception("%s %s failed", request.method, route)
            return _error(500, "the balancer made a mistake; its log has the details")

    def _admit(self, request: ApiRequest) -> None:
        """May this client do this? The socket's file permission has answered for a Unix socket."""
        if self._door.local:
            return
        if self._door.token is None:
            # Listening on loopback only: a web page could have its own name point here (DNS rebinding).
            if not _is_loopback(request.headers.get("host", "")):
                raise ApiError(421, "ask by the address 127.0.0.1, [::1] or localhost")
            if request.method not in {"GET", "HEAD"}:
                raise ApiError(403, "this address only reads: use the admin socket, or set admin.token_file")
        elif request.path not in _PUBLIC:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            good = hmac.compare_digest(token.strip().encode("latin-1"), self._door.token)
            if scheme.lower() != "bearer" or not good:
                raise ApiError(
                    401, "this needs the token of admin.token_file", (("WWW-Authenticate", 'Bearer realm="balancer"'),)
                )


def _find(request: ApiRequest) -> tuple[RouteHandler, str, dict[str, str]]:
    """The handler for a request, the path it is for, and what stands in that path's braces."""
    method = "GET" if request.method == "HEAD" else request.method
    for pattern, path, methods in _PATTERNS:
        match = pattern.fullmatch(request.path)
        if match is not None:
            if method not in methods:
                allowed = ", ".join(["HEAD", *methods] if "GET" in methods else methods)
                raise ApiError(405, f"this takes {allowed}", (("Allow", allowed),))
            return methods[method], path, match.groupdict()
    raise ApiError(404, "there is nothing here; /v1/status is a good place to begin")


def _is_loopback(host: str) -> bool:
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower() if match else ""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _error(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> ApiResponse:
    return ApiResponse(status, as_json({"error": message}), "application/json", headers)
