"""The server side of a WebSocket (RFC 6455): whole messages in, a bounded queue of messages out."""

import math
from collections.abc import Callable

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

MAX_MESSAGE = 64 * 1024
"""Characters or bytes of a message; a longer one ends the connection with 1009."""
MAX_QUEUE = 64
"""Messages waiting for a slow reader; one more ends the connection."""
CLOSE_TIMEOUT = 3.0
"""Seconds to send the last frames."""


class WebSocket:
    """One WebSocket, from its upgrade request to its end.

    Messages are queued and written by one task: a tab that does not read cannot block the others, and frames keep their
    order.
    """

    def __init__(self, stream: trio.SocketStream, headers: list[tuple[bytes, bytes]], target: bytes) -> None:
        """Read an upgrade request. Raises wsproto's ``RemoteProtocolError`` or ``UnicodeError`` if it is malformed."""
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._protocol.initiate_upgrade_connection(headers, target)
        list(self._protocol.events())  # the request itself
        self._outgoing, self._queue = trio.open_memory_channel[Event](MAX_QUEUE)
        self._scope = trio.CancelScope(deadline=math.inf)
        self._text: list[str] = []
        self._bytes: list[bytes | bytearray] = []
        self._size = 0

    def send(self, data: str | bytes) -> None:
        """Queue a message; if the queue is full because the peer does not read, end the connection."""
        self._enqueue(TextMessage(data) if isinstance(data, str) else BytesMessage(data))

    def close(self, code: int) -> None:
        """Send a close frame with ``code`` (RFC 6455, 7.4) after the messages queued so far."""
        self._close(CloseConnection(code))

    async def run(self, early: bytes, receive: Callable[[str | bytes], None]) -> None:
        """Serve until either side closes, and call ``receive`` for each message.

        ``early`` holds bytes that followed the upgrade request.
        """
        try:
            with self._scope:
                await self._stream.send_all(self._protocol.send(AcceptConnection()))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read(early, receive)
        finally:
            self._queue.close()

    def _enqueue(self, event: Event) -> None:
        try:
            self._outgoing.send_nowait(event)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self._scope.cancel()

    async def _write(self) -> None:
        try:
            async for event in self._queue:
                closing = isinstance(event, CloseConnection)
                if closing or self._protocol.state is ConnectionState.OPEN:
                    await self._stream.send_all(self._protocol.send(event))
                if closing:
                    return
        except trio.BrokenResourceError:
            self._scope.cancel()

    async def _read(self, data: bytes, receive: Callable[[str | bytes], None]) -> None:
        try:
            while True:
                self._protocol.receive_data(data)
                if not all(self._take(event, receive) for event in self._protocol.events()):
                    return
                data = await self._stream.receive_some(MAX_MESSAGE)
                if not data:
                    break
        except trio.BrokenResourceError:
            pass
        self._scope.cancel()

    def _take(self, event: Event, receive: Callable[[str | bytes], None]) -> bool:
        """Handle one event; False once the connection is closing."""
        match event:
            case Ping():
                self._enqueue(event.response())
            case CloseConnection():
                return self._close(event.response())
            case TextMessage() | BytesMessage():
                self._size += len(event.data)
                if self._size > MAX_MESSAGE:
                    return self._close(CloseConnection(CloseReason.MESSAGE_TOO_BIG))
                if isinstance(event, TextMessage):
                    self._text.append(event.data)
                else:
                    self._bytes.append(event.data)
                if event.message_finished:
                    receive("".join(self._text) if isinstance(event, TextMessage) else b"".join(self._bytes))
                    self._text, self._bytes, self._size = [], [], 0
        return True

    def _close(self, event: CloseConnection) -> bool:
        self._enqueue(event)
        self._scope.deadline = trio.current_time() + CLOSE_TIMEOUT
        return False
