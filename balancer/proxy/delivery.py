"""The way of a response to the client: as it came, or written anew; whole, piece by piece, or as a tunnel after 101."""

from typing import Final

from balancer.errors import ProxyError, Source
from balancer.http.body import Chunked, chunk, last_chunk
from balancer.http.forward import response_head
from balancer.http.frames import Frames
from balancer.http.head import CHUNKED, UNTIL_CLOSE, Request, Response
from balancer.http.websocket import is_websocket
from balancer.net.park import PARK
from balancer.net.transport import Transport
from balancer.proxy.connect import Connector
from balancer.proxy.connection import Connection
from balancer.proxy.duplex import Duplex
from balancer.proxy.record import Record
from balancer.proxy.tunnel import tunnel

UNCHANGED: Final = (None, None)
"""No fields are changed by the listener, nor by the pool."""


class Delivery(Duplex):
    """What one request is answered with, on its way to the client."""

    connector: Connector
    """How it comes to its backend."""
    # Defaults of the class, not of each object: most requests change few of them.
    explain = False
    """The response is to explain why this backend was chosen."""

    def __init__(self, connection: Connection, request: Request, early: bytes, record: Record) -> None:
        super().__init__(connection, record)
        self.response_timeout = self.worker.timeouts.response
        self.request = request
        self.early = early
        """Bytes that came with the head: of the body, of a tunnel, or of the next request."""

    def count(self, status: int) -> None:
        """Count the request: it is done, or has become a tunnel."""
        self.pool.traffic.note(status, self.worker.engine.now - self.record.started)

    def may_stay(self) -> bool:
        """Return whether the client's connection may carry another request after this one."""
        upload = self.upload
        return self.request.keep_alive and not self.connection.listener.draining and (upload is None or upload.done)

    def goes_on_as_it_came(self, response: Response, size: int) -> bool:
        """Return whether all of a response is in the ``size`` bytes it came with, and none of it is to be changed."""
        backend = self.backend
        return (
            response.body == size - response.end
            and response.whole != b""
            and self.request.minor == 1
            and not self.explain
            and self.worker.remembering is None
            and self.pool.response_fields is None
            and self.connection.listener.response_fields is None
            and backend is not None
            and backend.unsent is None
        )

    def following(self) -> bytes:
        """Return the bytes that follow the request."""
        return self.early if self.upload is None else self.upload.rest

    async def deliver(self, response: Response, rest: bytes, *, stays: bool) -> tuple[bool, bool]:
        """Relay the final response as it comes; ``rest`` has come with its head, and the client ``stays`` after it.

        Return whether the client's connection may carry another request, and whether the backend's may.
        """
        request, backend = self.request, self.backend
        assert backend is not None
        if self.worker.remembering is not None:
            self._remember(response)
        head, framing = response_head(response, request.minor, stays)
        head = self._edited(head)
        if self.explain:
            head = self._explained(head)
        if response.body == len(rest):  # all of it has come
            self.answered = True
            await self._to_client(head + rest)
            clean = True
        elif response.body >= 0:
            clean = await self._copy_length(head, response.body, rest)
        else:
            self.response_timeout = self.worker.timeouts.tunnel_idle  # a stream of events may be silent for long
            if response.body == CHUNKED:
                clean = await self._copy_chunked(head, framing, rest)
            else:
                await self._copy_until_close(head, framing, rest)
                clean = False
        sent = (self.upload is None or self.upload.done) and backend.unsent is None
        return stays and framing != UNTIL_CLOSE, clean and response.keep_alive and sent

    def _remember(self, response: Response) -> None:
        """Keep our cookies out of a response, and add one that is to remember the user."""
        remembering, connection = self.worker.remembering, self.connection
        assert remembering is not None
        token = self.token if self.remembers else None
        secure, assigned = connection.is_secure(self.request), self.assigned
        remembering.answer(self.pool, self.request, response, token, assigned=assigned, secure=secure)

    def _edited(self, response: bytes) -> bytes:
        """Return a response, or only its head, with its fields changed as the listener and the pool say."""
        edits = self.pool.response_fields, self.connection.listener.response_fields
        if edits == UNCHANGED:
            return response
        end = response.index(b"\r\n\r\n") + 4
        head = self.connection.edited(response[:end], edits, self.request, self.record.request_id)
        return head + response[end:]

    def _explained(self, head: bytes) -> bytes:
        """Return the head with the decision added to its fields."""
        return head[:-2] + self.explanation() + b"\r\n"

    async def _copy_length(self, send: bytes, left: int, data: bytes) -> bool:
        """Relay a body of known length after ``send``; return false if the backend sent more than it announced."""
        client = self.client
        self.answered = True
        while True:
            piece = data if len(data) <= left else data[:left]
            left -= len(piece)
            if not client.transmit(send + piece):
                await self._flush_client()
            if not left:
                return len(piece) == len(data)
            send = b""
            data = await self._more_from_backend()

    async def _copy_chunked(self, send: bytes, framing: int, data: bytes) -> bool:
        """Relay a chunked body after ``send``, unframed for HTTP/1.0; return false if more than the body came."""
        decoder = Chunked(Source.BACKEND, framed=framing == CHUNKED)
        while True:
            send += decoder.feed(data)  # while nothing has been sent, a body that cannot be read is answered 502
            self.answered = True
            if send:
                await self._to_client(send)
            if decoder.done:
                return not decoder.rest
            send = b""
            data = await self._more_from_backend()

    async def _copy_until_close(self, send: bytes, framing: int, data: bytes) -> None:
        """Relay a body after ``send`` that ends with the backend's connection."""
        self.answered = True
        while True:
            await self._to_client(send + (chunk(data) if framing == CHUNKED else data))
            send = b""
            data = await self._from_backend()
            if not data:
                break
        if framing == CHUNKED:
            await self._to_client(last_chunk(b""))

    async def _tunnel(self, response: Response, rest: bytes) -> None:
        """Relay bytes both ways after 101, which takes effect behind the body of the request (RFC 9110, 7.8)."""
        backend = self.backend
        assert backend is not None
        early = await self._behind_body(backend)
        if self.worker.remembering is not None:
            self._remember(response)
        head, _ = response_head(response, self.request.minor, True)
        head = self._edited(head)
        if self.explain:
            head = self._explained(head)
        self.record.status = 101
        self.count(101)
        self.answered = True
        frames = None
        if is_websocket(self.request):
            frames = Frames(), Frames()
            frames[0].feed(early)
            frames[1].feed(rest)
        await tunnel(
            self,
            backend,
            self.connector.backend,
            to_client=head + rest,
            to_backend=early,
            frames=frames,
        )

    async def _behind_body(self, backend: Transport) -> bytes:
        """Hand the backend the whole request; return the bytes that have come after it."""
        upload = self.upload
        self._await_backend()
        while backend.unsent is not None or not (upload is None or upload.done):
            moved = backend.flush() if upload is None else upload.pump()
            if upload is not None and upload.refused:
                raise ProxyError(Source.BACKEND, 502, "the backend closed before it had read the request")
            if moved:
                self._await_backend()
                await backend.take_turn()
            else:
                await PARK
        return self.following()
