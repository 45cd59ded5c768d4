"""``mode = "tcp"``: one backend connection per client connection, placed by address or SNI name."""

from balancer.errors import ProxyError, Source
from balancer.http.client_hello import server_name
from balancer.net.engine import Closed, TimedOut
from balancer.proxy.connect import Connector
from balancer.proxy.connection import Connection
from balancer.proxy.record import Record
from balancer.proxy.stream import Stream
from balancer.proxy.tunnel import tunnel


async def serve_tcp(connection: Connection, early: bytes) -> None:
    """Relay a connection to its backend. ``early`` has been read already."""
    worker, listener = connection.worker, connection.listener
    record = Record(worker.engine.now, connection.tls_seconds)
    stream = Stream(connection, record)
    backend = None
    try:
        key = connection.address
        asked = listener.config.key == "sni" or (listener.rules is not None and listener.rules.of_hello)
        if listener.tls is None and asked:
            early = await _peek(connection, early)
        stream.follow_rules(None)
        connection.served = True
        if listener.config.key == "sni":
            key = connection.server_name or connection.address
        record.head = worker.engine.now
        if stream.pool.settings.token.source != "none":
            stream.token = key.encode()
        if worker.log.enabled and stream.token is not None:
            record.digest, record.token_from = worker.digest(stream.token), listener.config.key
        connector = Connector(stream)
        backend = await connector.connect()
        await tunnel(stream, backend, connector.backend, to_backend=early)
    except ProxyError as error:
        record.ended, record.by = error.reason, error.source
        connection.transport.abort()
    except TimedOut:
        record.ended, record.by = "silent for too long", Source.INTERNAL
    except Closed as closed:
        record.ended, record.by = str(closed), Source.INTERNAL
    finally:
        if backend is not None:
            state = connector.backend
            connector.leave()
            record.bytes_in, record.bytes_out = backend.sent, backend.received
            state.bytes_in += backend.sent
            state.bytes_out += backend.received
            if backend.received:
                state.tally.answers += 1
            elif record.by is Source.BACKEND:
                stream.blame(state, "reset")
            backend.close()
        if worker.log.enabled and not connection.silent:
            stream.log("close")


async def _peek(connection: Connection, early: bytes) -> bytes:
    """Note what a ClientHello says, without answering it; return all bytes read.

    A client that sends something else, or nothing within ``timeouts.handshake`` because the host speaks first, does not
    speak TLS. It goes where no name leads, as with haproxy, unless it is placed by its name.
    """
    by_name = connection.listener.config.key == "sni"
    connection.task.expires = connection.worker.engine.now + connection.worker.timeouts.handshake
    while True:
        try:
            name = server_name(early) if early else None
        except ProxyError:
            if by_name:
                raise
            return early
        if name is not None:
            connection.server_name, connection.hello = name, True
            return early
        try:
            more = await connection.transport.recv()
        except TimedOut:
            if by_name:
                raise
            return early
        if not more:
            raise ProxyError(Source.CLIENT, 400, "the client left in the middle of its ClientHello")
        early += more
