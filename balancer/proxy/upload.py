"""A request body on its way from the client to the backend, moved whenever there is something to move."""

import math
from typing import Final

from balancer.errors import ProxyError, Source
from balancer.http.body import Chunked, chunk, last_chunk
from balancer.net.transport import Transport

TOO_LONG: Final = "the request body is too long"


class Upload:
    """The body of one request. ``length`` is its size in bytes, or ``CHUNKED``; ``early`` is what came with the head.

    A chunked body that grows beyond ``limit`` bytes raises 413; 0 is no limit. Up to ``keep`` bytes are kept, so that
    they can be sent to another backend.
    """

    __slots__ = (
        "_backend",
        "_client",
        "_deadline",
        "_decoder",
        "_held_up",
        "_keep",
        "_left",
        "_mark",
        "_room",
        "done",
        "first",
        "kept",
        "refused",
        "rest",
    )

    def __init__(self, client: Transport, backend: Transport, length: int, early: bytes, limit: int, keep: int) -> None:
        self._client = client
        self._backend = backend
        self._left = length
        self._room = limit or math.inf
        self._decoder = Chunked(Source.CLIENT) if length < 0 else None
        self._deadline = 0.0
        self._mark = 0
        self._held_up = True
        self._keep = keep
        self.kept: bytes | None = early
        """All bytes that the client has sent of it, or None if they were too many to keep."""
        self.done = False
        """The whole body has been handed to the backend's transport."""
        self.refused = False
        """The backend connection broke while it was being sent."""
        self.rest = b""
        """Bytes after the body, once done: the next request."""
        self.first = self._frame(early) if early else b""
        """What to send along with the head."""

    def deadline(self, now: float, timeout: float, rate: int) -> float:
        """Return by when more must have come: ``rate`` bytes a second within each ``timeout`` seconds.

        Time in which the backend does not take the body is not counted against the client.
        """
        received = self._client.received
        if self._held_up or received - self._mark >= rate * timeout:
            self._held_up = self._backend.unsent is not None
            self._mark = received
            self._deadline = now + timeout
        return self._deadline

    def pump(self) -> bool:
        """Move what can be moved without waiting; return whether anything was."""
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
            if self.kept is not None:
                self.kept = self.kept + data if len(self.kept) + len(data) <= self._keep else None
            framed = self._frame(data)
            if framed:
                backend.transmit(framed)
        except ProxyError as error:
            if error.source is not Source.BACKEND:
                raise
            # It takes no more, maybe because it has answered already: reading its answer will tell.
            self.refused = True
            backend.unsent = None
            backend.readable = True
        return True

    def _frame(self, data: bytes) -> bytes:
        """Return the bytes of the body in ``data``, framed for the backend."""
        decoder = self._decoder
        if decoder is None:
            left = self._left
            if len(data) < left:
                self._left -= len(data)
                return data
            self.done = True
            self._left = 0
            if len(data) == left:  # usually: no copies
                return data
            self.rest = data[left:]
            return data[:left]
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
