"""A request body on its way from the client to the backend, moved whenever there is something to move."""

import math

from balancer.errors import ProxyError, Source
from balancer.http.body import Chunked, chunk, last_chunk
from balancer.net.transport import Transport

TOO_LONG = "the request body is too long"


class Upload:
    """Body of one request. ``length`` is its size in bytes, or ``CHUNKED``; ``early`` is what came with the head.

    One of unknown length may have ``limit`` bytes, 0 for any number: 413 as soon as it has more.
    """

    __slots__ = (
        "_backend",
        "_client",
        "_decoder",
        "_due",
        "_held_up",
        "_left",
        "_mark",
        "_room",
        "complete_at_first",
        "done",
        "first",
        "refused",
        "rest",
    )

    def __init__(self, client: Transport, backend: Transport, length: int, early: bytes, limit: int) -> None:
        self._client = client
        self._backend = backend
        self._left = length
        self._room = limit or math.inf
        self._decoder = Chunked(Source.CLIENT) if length < 0 else None
        self._due = 0.0
        self._mark = 0
        self._held_up = True
        self.done = False
        """The whole body has been handed to the backend's transport."""
        self.refused = False
        """The backend connection broke while it was being sent."""
        self.rest = b""
        """Bytes after the body, once done: the next request."""
        self.first = self._frame(early) if early else b""
        """What to send along with the head."""
        self.complete_at_first = self.done

    def due(self, now: float, patience: float, rate: int) -> float:
        """By when more must have come: within ``patience`` seconds at least so much that it makes ``rate`` a second.

        Time in which the backend did not take it is not the client's.
        """
        received = self._client.received
        if self._held_up or received - self._mark >= rate * patience:
            self._held_up = self._backend.unsent is not None
            self._mark = received
            self._due = now + patience
        return self._due

    def pump(self) -> bool:
        """Move what can be moved without waiting; true if anything was."""
        if self.refused:
            return False
        client, backend = self._client, self._backend
        try:
            if backend.unsent is not None:
                if not backend.writable:
                    return False
                backend.flush()
                self._held_up = True
                return True
            if self.done or not client.pending():
                return False
            data = client.receive()
            if data is None:
                return False
            if not data:
                raise ProxyError(Source.CLIENT, 400, "the client closed in the middle of its request body")
            framed = self._frame(data)
            if framed:
                backend.transmit(framed)
        except ProxyError as error:
            if error.source is not Source.BACKEND:
                raise
            # It takes no more, maybe because it has answered already: reading on will tell.
            self.refused = True
            backend.unsent = None
            backend.readable = True
        return True

    def _frame(self, data: bytes) -> bytes:
        """The body bytes in ``data`` as the backend is to get them."""
        decoder = self._decoder
        if decoder is None:
            piece = data[: self._left]
            self._left -= len(piece)
            if not self._left:
                self.done = True
                self.rest = data[len(piece) :]
            return piece
        body = decoder.feed(data)
        self._room -= len(body)
        if self._room < 0:
            raise ProxyError(Source.CLIENT, 413, TOO_LONG)
        piece = chunk(body)
        if decoder.done:
            self.done = True
            self.rest = decoder.rest
            piece += last_chunk(decoder.trailers)
        return piece
