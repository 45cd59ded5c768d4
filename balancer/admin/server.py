"""A small HTTP/1.1 server for operators: h11 on trio streams, everything a client may use bounded.

It serves few requests and must not disturb anything else: heads, bodies, connections and times have limits, and
a client beyond them, or one that does not speak HTTP, loses its connection and nothing else. Clients of one socket
cannot take away the connections of another: each has its own number.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import parse_qsl

import h11
import trio

logger = logging.getLogger("balancer.admin")

MAX_HEAD = 16384
MAX_BODY = 1 << 18
"""Bytes of the longest body: some thousand changes."""
MAX_CONNECTIONS = 64
"""Open at a time on one socket; further ones are closed at once."""
CLIENT_TIMEOUT = 30.0
"""Seconds a client may take to send a request, the wait before it included, or to read an answer."""
MAX_STREAMS = 32
"""Most connections that stream an endless answer, of ``MAX_CONNECTIONS``."""
LINGER = 1.0
"""Seconds for which a refused client's data is still read: a reset could overtake the answer."""


@dataclass(frozen=True)
class ApiRequest:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By name in lower case; if a name is repeated, the last one."""
    body: bytes


@dataclass(frozen=True)
class ApiResponse:
    """A response."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    more: Callable[[], Awaitable[bytes]] | None = None
    """Returns the next piece of a response that goes on until the client leaves."""


class Unanswered:
    """Connections that wait for an answer, those included that have not made their first request yet."""

    def __init__(self) -> None:
        self._streams: set[trio.SocketStream] = set()
        self._none = trio.Event()

    def begin(self, stream: trio.SocketStream) -> None:
        """Note that a connection waits for an answer."""
        self._streams.add(stream)

    def end(self, stream: trio.SocketStream) -> None:
        """Note that it has one, or will get none."""
        self._streams.discard(stream)
        if not self._streams:
            self._none.set()
            self._none = trio.Event()

    async def none(self) -> None:
        """Wait until there are none."""
        if self._streams:
            await self._none.wait()


Answer = Callable[[ApiRequest, trio.socket.SocketType], Awaitable[ApiResponse]]
"""Makes a response to a request that came through a socket."""


async def serve(sock: socket.socket, answer: Answer, clients: trio.Nursery, unanswered: Unanswered) -> None:
    """Accept from a listening socket until cancelled, and close it then; its clients live on in ``clients``."""
    connections = 0
    streams = trio.Semaphore(MAX_STREAMS)

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal connections
        async with stream:
            if connections >= MAX_CONNECTIONS:
                return
            connections += 1
            try:
                await converse(stream, answer, streams, unanswered)
            except Exception:  # our own bug; it must not end the others
                logger.exception("a connection of the admin API failed")
            finally:
                connections -= 1

    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    await trio.serve_listeners(handle, [listener], handler_nursery=clients)


async def converse(stream: trio.SocketStream, answer: Answer, streams: trio.Semaphore, unanswered: Unanswered) -> None:
    """Serve one connection until either side ends it; ``streams`` bounds those whose answer does not end."""
    wire = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    unanswered.begin(stream)
    try:
        while (request := await _receive(stream, wire)) is not None:
            unanswered.begin(stream)
            response = await answer(request, stream.socket)
            if response.more is not None and request.method != "HEAD":
                unanswered.end(stream)
                await _stream(stream, wire, response, response.more, streams)
                break
            await _send(stream, wire, response, head_only=request.method == "HEAD")
            if wire.our_state is not h11.DONE or wire.their_state is not h11.DONE:
                break
            wire.start_next_cycle()
            unanswered.end(stream)
    except h11.RemoteProtocolError as error:
        await _refuse(stream, wire, error.error_status_hint)
    except (trio.BrokenResourceError, trio.TooSlowError):
        pass
    finally:
        unanswered.end(stream)


async def _receive(stream: trio.SocketStream, wire: h11.Connection) -> ApiRequest | None:
    """Return the next request, or None once the client has closed the connection."""
    head: h11.Request | None = None
    body = bytearray()
    with trio.fail_after(CLIENT_TIMEOUT):
        while True:
            event = wire.next_event()
            match event:
                case h11.Request():
                    head = event
                case h11.Data():
                    body += event.data
                    if len(body) > MAX_BODY:
                        raise h11.RemoteProtocolError("the body is too long", 413)
                case h11.EndOfMessage():
                    assert head is not None
                    return _request(head, bytes(body))
                case h11.ConnectionClosed():
                    return None
                case _:  # more is needed
                    if wire.they_are_waiting_for_100_continue:
                        await stream.send_all(wire.send(h11.InformationalResponse(status_code=100, headers=[])))
                    wire.receive_data(await stream.receive_some(65536))


def _request(head: h11.Request, body: bytes) -> ApiRequest:
    path, _, query = head.target.decode("ascii").partition("?")
    return ApiRequest(
        method=head.method.decode("ascii"),
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        body=body,
    )


async def _send(stream: trio.SocketStream, wire: h11.Connection, response: ApiResponse, *, head_only: bool) -> None:
    parts = [wire.send(_head(response, [("Content-Length", str(len(response.body)))]))]
    if response.body and not head_only:
        parts.append(wire.send(h11.Data(data=response.body)))
    parts.append(wire.send(h11.EndOfMessage()))
    await _pass_on(stream, *parts)


async def _stream(
    stream: trio.SocketStream,
    wire: h11.Connection,
    response: ApiResponse,
    more: Callable[[], Awaitable[bytes]],
    streams: trio.Semaphore,
) -> None:
    """Send pieces until the client leaves or sends more."""
    try:
        streams.acquire_nowait()
    except trio.WouldBlock:
        body = b'{"error": "too many clients have a stream open"}\n'
        await _send(stream, wire, ApiResponse(503, body, "application/json"), head_only=False)
        return
    try:
        await _pass_on(stream, wire.send(_head(response, [("Connection", "close")])))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_heard, stream, nursery.cancel_scope)
            while True:
                await _pass_on(stream, wire.send(h11.Data(data=await more())))
    except* (trio.BrokenResourceError, trio.TooSlowError):
        pass
    finally:
        streams.release()


async def _until_heard(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.receive_some(1)
    scope.cancel()


def _head(response: ApiResponse, framing: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(
        status_code=response.status,
        headers=[
            ("Content-Type", response.content_type),
            ("Date", formatdate(usegmt=True)),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *framing,
            *response.headers,
        ],
    )


async def _pass_on(stream: trio.SocketStream, *parts: bytes | None) -> None:
    with trio.fail_after(CLIENT_TIMEOUT):
        await stream.send_all(b"".join(part for part in parts if part))


async def _refuse(stream: trio.SocketStream, wire: h11.Connection, status: int) -> None:
    """Answer a client that broke the rules, if it can still receive, and close the connection."""
    if wire.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    text = {413: "the body is too long", 431: "the head is too long"}.get(status, "this is not an HTTP/1.1 request")
    body = f'{{"error": "{text}"}}\n'.encode()
    try:
        refusal = ApiResponse(status, body, "application/json", (("Connection", "close"),))
        await _send(stream, wire, refusal, head_only=False)
        await stream.send_eof()
        with trio.move_on_after(LINGER):
            while await stream.receive_some(65536):
                pass
    except (trio.BrokenResourceError, trio.TooSlowError):
        pass
