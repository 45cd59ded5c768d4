"""One probe of a backend: connect, ask, judge, within a time."""

from collections.abc import Awaitable, Callable

import h11
import trio

from balancer.config.pool import PoolConfig
from balancer.config.scalars import Address
from balancer.config.settings import BackendTlsSettings
from balancer.health.results import Result
from balancer.http.proxy_protocol import ProxyHeader, write
from balancer.net.contexts import client_context
from balancer.probes.connection import NoSocket, ProbeConnection, ProbeFailed
from balancer.probes.http import ask_http, health_request
from balancer.probes.websocket import ask_websocket


class Probe:
    """How the backends of a pool are probed; ``run`` may be under way for many of them at a time.

    A probe goes the way of the traffic: over TLS if that does, behind a PROXY header that names no client. One
    of another address than the traffic's goes without both, as in haproxy; only type ``tls`` always is TLS.
    """

    def __init__(self, pool: PoolConfig, tls: BackendTlsSettings | None) -> None:
        """``tls`` are the settings of probes over TLS. Raise ``OSError`` for certificates that cannot be used."""
        self.config = pool
        self.tls = tls
        self._config = pool.health
        self._hello = b"" if pool.send_proxy == "off" else write(ProxyHeader(), pool.send_proxy)
        self._context = client_context(tls) if tls is not None else None
        self._server_name = tls.server_name if tls is not None else None
        self._names = {each.name: each.server_name for each in pool.backend}
        self._elsewhere = {each.name: each.check_address for each in pool.backend}
        self._requests: dict[str, h11.Request] = {}
        """By host: making one costs more than sending it."""
        self._ask: Callable[[ProbeConnection, Address], Awaitable[Result]] = {
            "http": self._http,
            "tcp": self._tcp,
            "tls": self._handshake,
            "websocket": self._websocket,
        }[pool.health.type]

    async def run(self, backend: str, address: Address) -> Result | None:
        """Probe ``backend``, whose users go to ``address``; None if this machine was unable to: that is no verdict."""
        elsewhere = self._elsewhere.get(backend)
        target = elsewhere or address
        doing = "connect"
        try:
            with trio.move_on_after(self._config.timeout):
                link = await ProbeConnection.open(target)
                try:
                    doing = "answer"
                    if self._hello and elsewhere is None:
                        await link.send(self._hello)
                    if self._context is not None and (elsewhere is None or self._config.type == "tls"):
                        name = self._names.get(backend) or self._server_name or target.host
                        await link.handshake(self._context, name)
                    return await self._ask(link, target)
                finally:
                    link.close()
        except ProbeFailed as error:
            return Result(False, str(error))
        except NoSocket:
            return None
        return Result(False, f"{doing} timed out")

    async def _http(self, link: ProbeConnection, address: Address) -> Result:
        host = self._config.host or _host(address)
        request = self._requests.get(host)
        if request is None:
            request = self._requests[host] = health_request(self._config, host)
        return await ask_http(link, self._config, request)

    async def _websocket(self, link: ProbeConnection, address: Address) -> Result:
        return await ask_websocket(link, self._config, self._config.host or _host(address))

    async def _tcp(self, link: ProbeConnection, address: Address) -> Result:
        return Result(True, "connected")

    async def _handshake(self, link: ProbeConnection, address: Address) -> Result:
        return Result(True, "TLS handshake")


def _host(address: Address) -> str:
    return "localhost" if address.path else str(address)
