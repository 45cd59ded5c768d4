"""The beginning of a connection: its PROXY header and its TLS handshake, before anything is asked."""

from balancer.errors import ProxyError, Source
from balancer.http.proxy_protocol import parse
from balancer.net.engine import Closed, TimedOut
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport
from balancer.proxy.accesslog import Record
from balancer.proxy.connection import Connection

_TEXT = b"This port speaks HTTPS: use https:// (or wss://) instead of http:// (ws://).\n"
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_TEXT), _TEXT)
)
"""The answer to a client that speaks plain HTTP to a listener with TLS."""


async def greet(connection: Connection, plain: PlainTransport) -> bytes:
    """Read the PROXY header and shake hands, within ``timeouts.handshake``; return bytes read beyond that."""
    worker, listener = connection.worker, connection.listener
    engine = worker.engine
    began = engine.now
    connection.task.expires = began + worker.timeouts.handshake
    early = b""
    try:
        if listener.config.proxy_protocol == "accept" and connection.trusted:
            early = await _read_proxy_header(connection, plain)
            connection.silence = plain.received - len(early)
        if listener.tls is not None:
            connection.transport = tls = TlsTransport(plain, listener.tls, early)
            connection.silence = -1 if early else 0
            early = b""
            try:
                await tls.handshake()
            except ProxyError as error:
                if not str(error).endswith("http request"):  # OpenSSL's reason
                    raise
                connection.transport = plain
                await plain.send(_PLAIN_HTTP)
                raise ProxyError(Source.CLIENT, 400, "plain HTTP was sent to a TLS port") from None
            connection.tls_version = tls.version
            connection.tls_seconds = engine.now - began
            connection.server_name = tls.server_name
    except (ProxyError, TimedOut) as error:
        if not connection.silent:
            _note_failure(connection, error, began)
        raise
    finally:
        worker.admission.handshakes.end(plain)
    return early


def _note_failure(connection: Connection, error: ProxyError | TimedOut, began: float) -> None:
    """Count and log a handshake that failed."""
    listener = connection.listener
    listener.handshake_failures += 1
    if connection.worker.log.enabled:
        record = Record(began)
        record.by = Source.CLIENT
        record.ended = str(error) or "the handshake took too long"
        connection.log("handshake", record, listener.pool)


async def _read_proxy_header(connection: Connection, plain: PlainTransport) -> bytes:
    """Take the client's address from the PROXY header; return the bytes after it."""
    data = b""
    while True:
        parsed = parse(data) if data else None
        if parsed is not None:
            header, end = parsed
            if header.source is not None:
                connection.identify(header.source)
                connection.proxy = header
                _admit(connection)
            return data[end:]
        more = await plain.recv()
        if not more:
            raise ProxyError(Source.CLIENT, 400, "the connection ended in the middle of its PROXY header")
        data += more


def _admit(connection: Connection) -> None:
    """Apply the limits of a single client, whose address is known only now."""
    admission = connection.worker.admission
    if admission.per_client and not connection.trusted:
        connection.cells = admission.admit(connection.address)
        if connection.cells is None:
            connection.transport.abort()
            raise Closed
