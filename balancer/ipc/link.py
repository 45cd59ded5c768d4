"""A link between the control process and a worker: messages over a socket pair that no other process can reach.

Posting never waits, because the data plane must not stand still when control does; what is posted between two turns of
the loop is sent in one go. A peer that takes nothing while ``MAX_QUEUED`` bytes wait has lost the link: when it takes
part again, it gets a new one, and everything with it.
"""

import socket
from collections.abc import AsyncIterator

import trio

from balancer.ipc.wire import BrokenFrame, Message, Unreadable, Vocabulary, encode, frame_length

PART = 1 << 16
"""Bytes received at a time. A buffer of this size is made for each part and cut to what came: larger ones would lie one
behind the other in the heap, each with a small rest that keeps it from shrinking."""
LARGE = 1 << 16
"""Bytes of a frame from which on it is decoded in a thread: tunnels would wait meanwhile."""
MAX_QUEUED = 1 << 26
"""Bytes that may wait for a peer that does not read, beside the frame posted last."""


class Link:
    """One end, which understands ``vocabulary``. ``run`` sends; iterating receives until the other end closes."""

    def __init__(self, sock: socket.socket, vocabulary: Vocabulary) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._vocabulary = vocabulary
        self._queue: list[bytes] = []
        self._queued = 0
        self._posted = trio.Event()
        self.lost = False
        """Nothing is sent any more."""

    def post(self, message: Message) -> None:
        """Send ``message`` soon, after everything posted before; without effect on a link that is lost."""
        if not self.lost:
            self.post_frame(encode(message))

    def post_frame(self, frame: bytes) -> None:
        """Send a message that is encoded already, for instance once for many links."""
        if self.lost:
            return
        if self._queued > MAX_QUEUED:
            self.close()
            return
        self._queue.append(frame)
        self._queued += len(frame)
        self._posted.set()

    async def run(self) -> None:
        """Send what is posted, until the link is lost."""
        try:
            while not self.lost:
                await self._posted.wait()
                self._posted = trio.Event()
                batch, self._queue, self._queued = self._queue, [], 0
                if batch:
                    await self._stream.send_all(b"".join(batch))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[Message | Unreadable]:
        """Yield the messages of the other end, and ``Unreadable`` for what cannot be read."""
        data = bytearray()
        try:
            while part := await self._stream.receive_some(PART):
                data += part
                while 0 < (end := frame_length(data)) <= len(data):
                    frame = bytes(data[:end])
                    del data[:end]
                    if end < LARGE:
                        yield self._vocabulary.decode(frame)
                    else:
                        yield await trio.to_thread.run_sync(self._vocabulary.decode, frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError, BrokenFrame):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End the link; may be repeated."""
        self.lost = True
        self._queue.clear()
        self._queued = 0
        self._posted.set()
        self._stream.socket.close()
