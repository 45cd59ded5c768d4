"""The beginning of a connection: its PROXY header and its TLS handshake, before anything is asked."""

import re

from balancer.errors import ProxyError, Source
from balancer.http.client_hello import protocols
from balancer.http.proxy_protocol import parse
from balancer.net.engine import Closed, TimedOut
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport
from balancer.proxy.connection import Connection
from balancer.proxy.record import Record
from balancer.proxy.replies import reply

_SPOKEN = {b"http/1.1", b"http/1.0"}
_NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
"""A fatal alert (RFC 7301, 3.2)."""
_REQUEST = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE|PRI) ")


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
            if listener.config.mode == "http":
                early = await _read_hello(connection, plain, early)
            connection.transport = tls = TlsTransport(plain, listener.tls, early)
            connection.silence = -1 if early else 0
            early = b""
            await tls.handshake()
            connection.tls_version = tls.version
            connection.tls_seconds = engine.now - began
            connection.server_name = tls.server_name
            connection.certified = tls.certified
    except (ProxyError, TimedOut) as error:
        if not connection.silent:
            _note_failure(connection, error, began)
        raise
    finally:
        worker.admission.handshakes.end(plain)
    return early


async def _read_hello(connection: Connection, plain: PlainTransport, data: bytes) -> bytes:
    """Return the bytes of a ClientHello. Raise ``ProxyError`` for a client that does not want HTTP/1.1 over TLS."""
    while True:
        if _REQUEST.match(data):
            reason = "a plain HTTP request to a TLS port"
            await connection.respond(reply(400, f"{reason}: use https", connection.listener.error_pages))
            await connection.linger()
            raise ProxyError(Source.CLIENT, 400, reason)
        try:
            offered = protocols(data) if data else None
        except ProxyError:
            return data  # OpenSSL has an alert for it
        if offered is not None:
            break
        more = await plain.recv()
        if not more:
            raise ProxyError(Source.CLIENT, 400, "the client left during the TLS handshake")
        data += more
    if offered and not _SPOKEN & set(offered):
        # Python's OpenSSL would go on without a protocol, which RFC 7301, 3.2, forbids.
        plain.transmit(_NO_APPLICATION_PROTOCOL)
        raise ProxyError(Source.CLIENT, 400, "TLS failed: the client offers no protocol that is spoken here")
    return data


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
    if admission.per_client:
        connection.cells = admission.admit(connection.address)
        if connection.cells is None:
            connection.transport.abort()
            raise Closed
