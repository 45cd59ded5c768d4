"""HTTP/1 on a client's connection: requests one after another, each a stream of its own."""

from balancer.errors import ProxyError, Source
from balancer.http.head import Request, find_end, skip_blank
from balancer.http.reader import RequestReader
from balancer.net.engine import TimedOut
from balancer.net.park import PARK
from balancer.net.transport import TURN_BYTES
from balancer.proxy.connection import Connection
from balancer.proxy.exchange import Exchange
from balancer.proxy.listener_state import FIRST_REQUEST_TIMEOUT
from balancer.proxy.record import Record
from balancer.proxy.replies import reply


async def serve_http(connection: Connection, data: bytes) -> None:
    """Serve requests until the connection ends; pipelined ones wait in ``data``, which has been read already."""
    engine, task = connection.worker.engine, connection.task
    first = Record(engine.now, connection.tls_seconds)
    reader = RequestReader()
    rest: bytes | None = data
    while rest or (rest is not None and not (connection.listener.draining and connection.served)):
        if rest and task.spent >= TURN_BYTES:
            await engine.give_way()
        record, first = first, Record(0.0)
        try:
            request, rest = await _read_request(connection, reader, rest, record)
            if request is None:
                return
        except ProxyError as error:
            await _refuse(connection, record, error)
            break
        connection.served = True
        record.head = engine.now
        record.method, record.target = request.method, request.target
        record.request = request
        rest = await Exchange(connection, request, rest, record).run()
        # A close of the client that has not been noticed yet ends the next read.
    await connection.linger()


async def _read_request(
    connection: Connection, reader: RequestReader, data: bytes, record: Record
) -> tuple[Request | None, bytes]:
    """Return the next request and the bytes after its head; None when the client has left between two requests."""
    worker, task, transport = connection.worker, connection.task, connection.transport
    engine, limit = worker.engine, worker.max_head
    now = engine.now
    usual = worker.timeouts.keep_alive if connection.served else worker.timeouts.idle
    waiting = FIRST_REQUEST_TIMEOUT if connection.listener.draining else usual
    task.expires = now + (worker.timeouts.head if data else waiting)
    seen = 0
    connection.idle = not data
    try:
        while True:
            if data and not seen:
                record.started = engine.now
                request = reader.read_repeated(data)
                if request is not None and len(data) <= limit:
                    return request, b""
                if data[0] == 13:
                    data = data[skip_blank(data) :]
            if data and data != b"\r":
                end = find_end(data, seen)
                if end > limit or (end < 0 and len(data) > limit):
                    if b"\r\n" not in data[:limit]:  # not even the first line ends within it
                        raise ProxyError(Source.CLIENT, 414, "the request target is too long")
                    raise ProxyError(Source.CLIENT, 431, "the request head is too long")
                if end > 0:
                    return reader.read(data[:end]), data[end:]
                seen = len(data)
            while not transport.pending():  # as ``recv`` does, without a coroutine for each request
                await PARK
            try:
                more = transport.receive()
            except ProxyError:
                if data:
                    raise
                more = b""  # a reset between two requests, or before the first: some probes end so
            if more is None:
                continue
            if not more:
                if data:
                    raise ProxyError(Source.CLIENT, 400, "the client closed in the middle of a request head")
                return None, b""
            if connection.idle:  # once only: blank lines before a request do not extend its deadline
                connection.idle = False
                task.expires = engine.now + worker.timeouts.head
            data += more
    except ProxyError as error:
        if not data and error.status == 499:  # the last answer has not arrived
            return None, b""
        raise
    except TimedOut:
        if not data:
            raise
        raise ProxyError(Source.CLIENT, 408, "the request head took too long") from None


async def _refuse(connection: Connection, record: Record, error: ProxyError) -> None:
    """Answer what could not be read as a request."""
    record.status, record.ended, record.by = error.status, error.reason, error.source
    pool = connection.listener.pool
    pool.traffic.note(error.status, connection.worker.engine.now - record.started)
    if connection.worker.log.enabled:
        connection.log("request", record, pool)
    await connection.respond(reply(error.status, error.reason, connection.listener.error_pages))
