"""Messages between the control process and a worker: pickles in frames over a socket pair that nobody else can reach.

Some facts. Both ends are processes of one daemon and one version, started by the same supervisor, so pickle is as good
as any format here and carries rings as arrays, in a millisecond. Posting never waits: the data plane must not stand
still because control does. What is posted between two turns travels in one frame. A peer that takes nothing for so long
that ``MOST_QUEUED`` frames' worth is waiting has lost the link: when it takes part again, it gets a new one and with it
everything anew.
"""

import pickle
import socket
from collections.abc import AsyncIterator

import trio

PART = 1 << 16
"""Bytes received at a time. A buffer of so many is made for each part and cut to what came: large ones would lie behind
one another in the heap, each with a small rest that keeps it from shrinking."""
MOST_QUEUED = 50_000
"""Messages that may wait for a peer that does not read."""


class Link:
    """One end. ``run`` sends; iterating receives, until the other end closes or dies."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._queue: list[object] = []
        self._posted = trio.Event()
        self.lost = False
        """Nothing is sent any more."""

    def post(self, message: object) -> None:
        """Send ``message`` soon, after all that were posted before; without effect on a link that is lost."""
        if self.lost:
            return
        self._queue.append(message)
        if len(self._queue) > MOST_QUEUED:
            self.close()
        self._posted.set()

    async def run(self) -> None:
        """Send what is posted, until the link is lost."""
        try:
            while not self.lost:
                await self._posted.wait()
                self._posted = trio.Event()
                batch, self._queue = self._queue, []
                if batch:
                    data = pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)
                    await self._stream.send_all(len(data).to_bytes(8) + data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[object]:
        """The messages of the other end, one after another."""
        data = bytearray()
        try:
            while part := await self._stream.receive_some(PART):
                data += part
                while len(data) >= 8 and len(data) >= (end := 8 + int.from_bytes(data[:8])):
                    batch = pickle.loads(data[8:end])
                    del data[:end]
                    for message in batch:
                        yield message
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End the link; may be repeated."""
        self.lost = True
        self._queue.clear()
        self._posted.set()
        self._stream.socket.close()
