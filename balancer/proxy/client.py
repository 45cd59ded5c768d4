"""From accept to close: PROXY header, TLS handshake, then requests one after another, or a TCP tunnel."""

import math
import socket
from collections.abc import Callable
from typing import Any

from balancer.errors import ProxyError, Source
from balancer.http.head import Request, find_end, skip_blank
from balancer.http.proxy_protocol import parse as parse_proxy_header
from balancer.http.reader import RequestReader
from balancer.net.engine import Closed, TimedOut, park
from balancer.net.tls import TlsTransport
from balancer.net.transport import TURN_BYTES, PlainTransport, reset
from balancer.proxy.accesslog import Record
from balancer.proxy.exchange import Exchange
from balancer.proxy.listener_state import GRACE, ListenerState
from balancer.proxy.replies import reply
from balancer.proxy.session import Client
from balancer.proxy.tcp import serve_tcp
from balancer.proxy.worker_state import WorkerState


def handler(worker: WorkerState, listener: ListenerState) -> Callable[[socket.socket, Any], None]:
    """What an acceptor of ``listener`` does with each connection."""

    def handle(sock: socket.socket, peer: tuple[str, int]) -> None:
        listener.connections += 1
        places = None
        if worker.admission.per_client and not listener.trusts(peer[0]):  # a balancer in front is no single client
            places = worker.admission.admit(peer[0])
            if places is None:
                reset(sock)
                worker.leave(listener)
                return
        transport = PlainTransport(worker.engine, sock, Source.CLIENT, None)
        client = Client(worker, listener, transport, peer, places)
        if listener.tls is not None:
            worker.admission.handshakes.begin(transport)
        client.task = transport.task = worker.engine.spawn(_serve(client, transport))

    return handle


async def _serve(client: Client, plain: PlainTransport) -> None:
    worker = client.worker
    worker.sessions.add(client)
    try:
        early = await _greet(client, plain)
        if client.listener.config.mode == "tcp":
            await serve_tcp(client, early)
        else:
            await _serve_http(client, early)
    except (ProxyError, TimedOut):
        pass  # logged where it happened; here it only ends the connection
    finally:
        client.transport.close()
        if client.kept is not None:
            for connections in client.kept.values():
                connections.expire(math.inf)
        worker.part(client, client.listener, client.places)


async def _greet(client: Client, plain: PlainTransport) -> bytes:
    """PROXY header and TLS handshake, within one deadline; bytes read beyond them."""
    worker, listener = client.worker, client.listener
    engine = worker.engine
    began = engine.now
    client.task.expires = began + worker.timeouts.handshake
    early = b""
    try:
        if listener.config.proxy_protocol == "accept" and client.trusted:
            early = await _read_proxy_header(client, plain)
        if listener.tls is not None:
            client.transport = tls = TlsTransport(plain, listener.tls, early)
            early = b""
            await tls.handshake()
            client.tls_version = tls.version
            client.tls_seconds = engine.now - began
            client.server_name = tls.server_name
    except (ProxyError, TimedOut) as error:
        listener.handshake_failures += 1
        if worker.log.enabled:
            record = Record(began)
            record.by = Source.CLIENT
            record.ended = str(error) or "the handshake took too long"
            client.log("handshake", record)
        raise
    finally:
        worker.admission.handshakes.end(plain)
    return early


async def _read_proxy_header(client: Client, plain: PlainTransport) -> bytes:
    """Take the client's real address from the PROXY header; the bytes after it."""
    data = b""
    while True:
        parsed = parse_proxy_header(data) if data else None
        if parsed is not None:
            header, end = parsed
            if header.source is not None:
                client.identify(header.source)
                client.via = header
                _admit(client)
            return data[end:]
        more = await plain.recv()
        if not more:
            raise ProxyError(Source.CLIENT, 400, "the connection ended in the middle of its PROXY header")
        data += more


def _admit(client: Client) -> None:
    """The limits of a client whose address was not known before."""
    admission = client.worker.admission
    if admission.per_client and not client.trusted:
        client.places = admission.admit(client.address)
        if client.places is None:
            client.transport.abort()
            raise Closed


async def _serve_http(client: Client, data: bytes) -> None:
    """Requests one after another; pipelined ones wait in ``data`` for their turn."""
    worker, task = client.worker, client.task
    engine = worker.engine
    first = Record(engine.now, client.tls_seconds)
    reader = RequestReader()
    rest: bytes | None = data
    while rest or (rest is not None and not (client.listener.draining and client.served)):
        if rest and task.spent >= TURN_BYTES:
            await engine.give_way()
        record, first = first, Record(0.0)
        try:
            request, rest = await _read_request(client, reader, rest, record)
            if request is None:
                return
        except ProxyError as error:
            await _refuse(client, record, error)
            break
        client.served = True
        record.head = engine.now
        record.method, record.target = request.method, request.target
        rest = await Exchange(client, request, rest, record).run()
        # A client that closed without our noticing yet ends in the next read.
    await client.linger()


async def _read_request(
    client: Client, reader: RequestReader, data: bytes, record: Record
) -> tuple[Request | None, bytes]:
    """The next request and the bytes after its head; None when the client has gone between two requests."""
    worker, task, transport = client.worker, client.task, client.transport
    engine, limit = worker.engine, worker.max_head
    now = engine.now
    waiting = GRACE if client.listener.draining else worker.timeouts.idle
    task.expires = now + (worker.timeouts.head if data else waiting)
    seen = 0
    client.idle = not data
    try:
        while True:
            if data and not seen:
                record.started = engine.now
                request = reader.read_repeated(data)
                if request is not None and len(data) <= limit:
                    return request, b""
                data = data[skip_blank(data) :]
            if data and data != b"\r":
                end = find_end(data, seen)
                if end > limit or (end < 0 and len(data) > limit):
                    raise ProxyError(Source.CLIENT, 431, "the request head is too long")
                if end > 0:
                    return reader.read(data[:end]), data[end:]
                seen = len(data)
            while not transport.pending():  # as ``recv`` does, without a coroutine for each request
                await park()
            more = transport.receive()
            if more is None:
                continue
            if not more:
                if data:
                    raise ProxyError(Source.CLIENT, 400, "the client closed in the middle of a request head")
                return None, b""
            if client.idle:  # once: blank lines do not buy more time
                client.idle = False
                task.expires = engine.now + worker.timeouts.head
            data += more
    except TimedOut:
        if not data:
            raise
        raise ProxyError(Source.CLIENT, 408, "the request head took too long") from None


async def _refuse(client: Client, record: Record, error: ProxyError) -> None:
    """Answer what could not be read as a request."""
    record.status, record.ended, record.by = error.status, error.reason, error.source
    client.listener.pool.traffic.note(error.status, client.worker.engine.now - record.started)
    if client.worker.log.enabled:
        client.log("request", record)
    await client.say(reply(error.status, error.reason))
