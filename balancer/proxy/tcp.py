"""``mode = "tcp"``: one backend connection per client connection, placed by address or SNI name."""

from balancer.errors import ProxyError, Source
from balancer.http.client_hello import server_name
from balancer.net.engine import Closed, TimedOut
from balancer.proxy.accesslog import Record
from balancer.proxy.connect import Connector
from balancer.proxy.session import Client
from balancer.proxy.tunnel import tunnel


async def serve_tcp(client: Client, early: bytes) -> None:
    """Relay ``client`` to its backend. ``early`` has been read already."""
    worker, listener = client.worker, client.listener
    record = Record(worker.engine.now, client.tls_seconds)
    backend = None
    connector: Connector | None = None
    try:
        key = client.address
        if listener.tls is None and (listener.routes is not None or listener.config.key == "sni"):
            client.server_name, early = await _peek(client, early)
        if listener.routes is not None:
            client.choose_pool(None)
        if listener.config.key == "sni":
            key = client.server_name or client.address
        record.head = worker.engine.now
        if worker.log.enabled:
            record.digest = worker.digest(key.encode())
        token = key.encode()
        connector = Connector(client, token, record)
        backend = await connector.connect()
        await tunnel(client, backend, connector.backend, token, record, to_backend=early)
    except ProxyError as error:
        record.ended, record.by = error.reason, error.source
        client.transport.abort()
    except TimedOut:
        record.ended, record.by = "silent for too long", Source.INTERNAL
    except Closed as closed:
        record.ended, record.by = str(closed), Source.INTERNAL
    finally:
        if backend is not None and connector is not None:
            state = connector.backend
            connector.leave()
            record.bytes_in, record.bytes_out = backend.sent, backend.received
            state.bytes_in += backend.sent
            state.bytes_out += backend.received
            if backend.received:
                state.tally.answers += 1
            elif record.by is Source.BACKEND:
                client.blame(state, connector.token, "reset")
            backend.close()
        if worker.log.enabled:
            client.log("close", record)


async def _peek(client: Client, early: bytes) -> tuple[str, bytes]:
    """Read the ClientHello without answering it: the name in it, or an empty one, and all bytes read."""
    client.task.expires = client.worker.engine.now + client.worker.timeouts.handshake
    while True:
        name = server_name(early) if early else None
        if name is not None:
            return name, early
        more = await client.transport.recv()
        if not more:
            raise ProxyError(Source.CLIENT, 400, "the client left in the middle of its ClientHello")
        early += more
