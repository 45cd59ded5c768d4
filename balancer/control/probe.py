"""One probe of a backend: connect, ask, judge, within a time."""

import ssl
from collections.abc import Awaitable, Callable

import h11
import trio

from balancer.config import model
from balancer.config.scalars import Address
from balancer.control.probe_http import ask_http, health_request
from balancer.control.probe_link import Failed, Link, NoSocket
from balancer.control.probe_websocket import ask_websocket
from balancer.pool.health import Result


class Probe:
    """How the backends of a pool are probed; ``run`` may be under way for many of them at a time."""

    def __init__(self, config: model.Health) -> None:
        self._config = config
        self._context = _context(config.tls) if config.type == "tls" else None
        self._requests: dict[str, h11.Request] = {}
        """By host: making one costs more than sending it."""
        self._ask: Callable[[Link, Address], Awaitable[Result]] = {
            "http": self._http,
            "tcp": self._tcp,
            "tls": self._tls,
            "websocket": self._websocket,
        }[config.type]

    async def run(self, address: Address) -> Result | None:
        """Probe ``address``; None if this machine was not able to, which is no verdict."""
        doing = "connect"
        try:
            with trio.move_on_after(self._config.timeout):
                link = await Link.open(address)
                try:
                    doing = "answer"
                    return await self._ask(link, address)
                finally:
                    link.close()
        except Failed as error:
            return Result(False, str(error))
        except NoSocket:
            return None
        return Result(False, f"{doing} timed out")

    async def _http(self, link: Link, address: Address) -> Result:
        host = self._config.host or _host(address)
        request = self._requests.get(host)
        if request is None:
            request = self._requests[host] = health_request(self._config, host)
        return await ask_http(link, self._config, request)

    async def _websocket(self, link: Link, address: Address) -> Result:
        return await ask_websocket(link, self._config, self._config.host or _host(address))

    async def _tcp(self, link: Link, address: Address) -> Result:
        return Result(True, "connected")

    async def _tls(self, link: Link, address: Address) -> Result:
        assert self._context is not None
        await link.handshake(self._context, self._config.tls.server_name or address.host)
        return Result(True, "TLS handshake")


def _host(address: Address) -> str:
    return "localhost" if address.path else str(address)


def _context(tls: model.HealthTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
