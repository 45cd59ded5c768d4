"""Answer requests to the admin API: check permissions and turn errors into responses."""

import hmac
import logging
import re
from ipaddress import ip_address

import trio

from balancer.admin.call import ApiError, Call, as_json
from balancer.admin.listeners import AdminListener, who
from balancer.admin.metrics import Metrics
from balancer.admin.requests import InvalidBody
from balancer.admin.routing import HEALTH, PUBLIC, find_route
from balancer.admin.server import ApiRequest, ApiResponse
from balancer.admin.services import Services
from balancer.admin.views import Views
from balancer.control.placement_controller import Outdated
from balancer.errors import Refused

logger = logging.getLogger("balancer.admin")

AUTHOR = "balancer-author"
"""Request header with the name of the person who makes a change, for the journal."""
_AUTHOR = re.compile(r"[A-Za-z0-9@._+ -]{0,64}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:]*)(?::[0-9]+)?")


class Handler:
    """Answers the requests of one listener."""

    def __init__(
        self, services: Services, views: Views, metrics: Metrics, nursery: trio.Nursery, listener: AdminListener
    ) -> None:
        self._services = services
        self._views = views
        self._metrics = metrics
        self._nursery = nursery
        self._listener = listener

    async def __call__(self, request: ApiRequest, sock: trio.socket.SocketType) -> ApiResponse:
        route = "no route"
        try:
            self._admit(request)
            handler, route, args = find_route(request)
            author = request.headers.get(AUTHOR, "")
            if not _AUTHOR.fullmatch(author):
                raise ApiError(400, f"{AUTHOR}: expected at most 64 letters, digits, spaces and @ . _ + -")
            by = who(sock, author)
            if request.path != "/healthz":
                await self._services.registry.refresh()
            local = self._listener.local
            call = Call(self._services, self._views, self._metrics, self._nursery, request, args, by, local)
            return await handler(call)
        except ApiError as error:
            return _error(error.status, str(error), error.headers)
        except InvalidBody as error:
            return _error(400, str(error))
        except Outdated as error:
            return _error(412 if "if-match" in request.headers else 409, str(error))
        except Refused as error:
            return _error(409, str(error))
        except Exception:  # our own bug: the details go to the log, not to the client
            logger.exception("%s %s failed", request.method, route)
            return _error(500, "the balancer made a mistake; its log has the details")

    def _admit(self, request: ApiRequest) -> None:
        """Raise ``ApiError`` if this client may not do this. A Unix socket is guarded by its file permissions."""
        access = self._listener.access
        if self._listener.local:
            return
        if access.health_only:
            if request.path not in HEALTH:
                raise ApiError(421, "this address answers /healthz and /readyz only")
        elif access.token is None:
            # Listening on loopback only: a web page could have its own name point here (DNS rebinding).
            if not _is_loopback(request.headers.get("host", "")):
                raise ApiError(421, "ask by the address 127.0.0.1, [::1] or localhost")
            if request.method not in {"GET", "HEAD"}:
                raise ApiError(403, "this address only reads: use the admin socket, or set admin.token_file")
        elif request.path not in PUBLIC:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            good = hmac.compare_digest(token.strip().encode("latin-1"), access.token)
            if scheme.lower() != "bearer" or not good:
                raise ApiError(
                    401, "this needs the token of admin.token_file", (("WWW-Authenticate", 'Bearer realm="balancer"'),)
                )


def _is_loopback(host: str) -> bool:
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower() if match else ""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _error(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> ApiResponse:
    return ApiResponse(status, as_json({"error": message}), "application/json", headers)
