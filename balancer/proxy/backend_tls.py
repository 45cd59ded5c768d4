"""TLS to the backends of a pool: the names to expect there, and the sessions to resume."""

import ssl

from balancer.config.settings import BackendTlsSettings, PoolSettings
from balancer.net.contexts import client_context
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport
from balancer.pool.backend import Backend


class TlsToBackends:
    """One per pool that has ``tls`` enabled. A reload that leaves its TLS settings alone keeps it, and its sessions."""

    def __init__(self, tls: BackendTlsSettings, context: ssl.SSLContext) -> None:
        self.tls = tls
        self._context = context
        self._latest: dict[Backend, TlsTransport] = {}
        self._names: dict[str, str] = {}

    @classmethod
    def build(cls, tls: BackendTlsSettings) -> "TlsToBackends":
        """Load the certificates, which takes 50 ms. Raise ``OSError`` for those that cannot be used."""
        return cls(tls, client_context(tls))

    def configure(self, pool: PoolSettings) -> None:
        """Expect these server names from the next handshake on."""
        self._names = {each.name: each.server_name for each in pool.backend if each.server_name is not None}

    def forget(self, backends: set[Backend]) -> None:
        """Drop the sessions of all but these backends."""
        self._latest = {backend: latest for backend, latest in self._latest.items() if backend in backends}

    async def handshake(self, plain: PlainTransport, backend: Backend) -> TlsTransport:
        """Start TLS on a new connection, within the task's deadline. Raise ``ProxyError``, the connection closed."""
        name = self._names.get(backend.name) or self.tls.server_name or backend.address.host or None
        former = self._latest.get(backend)
        session = former.session if former is not None else None
        transport = TlsTransport(plain, self._context, server_name=name, session=session)
        try:
            await transport.handshake()
        except BaseException:
            transport.close()
            raise
        self._latest[backend] = transport
        return transport
