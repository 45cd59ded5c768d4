"""TLS towards the backends of a pool: whom to expect there, and what is left of the connection before."""

from balancer.config import model
from balancer.net.contexts import client_context
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport
from balancer.pool.backend import Backend


class TlsToBackends:
    """One per pool that has ``tls`` enabled, for as long as its configuration holds."""

    def __init__(self, config: model.Pool) -> None:
        """Read the certificates. Raises ``OSError``, of which ``ssl.SSLError`` is one, for those that are no good."""
        self.config = config
        self._context = client_context(config.tls)
        self._name = config.tls.server_name
        self._names = {each.name: each.server_name for each in config.backend if each.server_name is not None}
        self._latest: dict[Backend, TlsTransport] = {}

    async def handshake(self, plain: PlainTransport, backend: Backend) -> TlsTransport:
        """TLS on a new connection, within the task's deadline. Raises ``ProxyError``; the connection is closed then."""
        name = self._names.get(backend.name) or self._name or backend.address.host or None
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
