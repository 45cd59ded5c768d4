"""The channel between the supervisor and a child: messages, with descriptors where one hands some on.

SOCK_SEQPACKET (unix(7)) keeps the boundaries of messages, tells each side of the other's end, and takes descriptors
along (SCM_RIGHTS), at most 253 with one message. A receiver that has no room for all of them gets as many as fit, and
MSG_CTRUNC (recv(2)): so a message says how many there should be, and receivers count.
"""

import array
import errno
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

import trio

from balancer.ipc.supervision import FdMessage
from balancer.ipc.wire import BrokenFrame, Message, Unreadable, Vocabulary, encode, frame_length

MOST_FDS = 200
"""Descriptors in one message."""
_NO_MEMORY = (errno.ENOBUFS, errno.ENOMEM)
_RETRY_WAIT = 0.1
"""Seconds before a message for which the kernel had no memory is sent again."""
_SIZE = 1 << 17
"""Bytes of the longest message."""


class Received(NamedTuple):
    """A message, and the descriptors that came with it: the receiver closes them."""

    message: Message | Unreadable
    fds: list[int]


class Channel:
    """One end, which understands ``vocabulary``."""

    def __init__(self, sock: socket.socket, vocabulary: Vocabulary) -> None:
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._vocabulary = vocabulary

    def fileno(self) -> int:
        """Return the descriptor of this end, -1 once it is closed."""
        return self._sock.fileno()

    async def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send one message; without effect when either end is gone, which its owner learns otherwise.

        Where the kernel has no memory for it, try again until it has. Raise OSError only for descriptors that cannot be
        sent: a process has only so many on their way (unix(7), ETOOMANYREFS).
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while self._sock.fileno() >= 0:
            try:
                await self._sock.sendmsg([encode(message)], rights)
            except (BrokenPipeError, ConnectionResetError, trio.ClosedResourceError):
                return
            except OSError as error:
                if fds or error.errno not in _NO_MEMORY:
                    raise
                await trio.sleep(_RETRY_WAIT)
            else:
                return

    async def receive(self) -> Received | None:
        """Return the next message, None when there will be none any more.

        Descriptors that a message is not expected to bring, or that came with one that cannot be read, are closed.
        """
        try:
            data, rights, _, _ = await self._sock.recvmsg(
                _SIZE, socket.CMSG_SPACE(MOST_FDS * 4), socket.MSG_CMSG_CLOEXEC
            )
        except (ConnectionResetError, trio.ClosedResourceError):
            return None
        fds = array.array("i")
        for level, kind, raw in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
        message = self._decode(data) if data else None
        if isinstance(message, FdMessage):
            return Received(message, list(fds))
        for fd in fds:
            os.close(fd)
        return None if message is None else Received(message, [])

    def close(self) -> None:
        """Close this end."""
        self._sock.close()

    def _decode(self, data: bytes) -> Message | Unreadable:
        try:
            whole = frame_length(data) == len(data)
        except BrokenFrame:
            whole = False
        return self._vocabulary.decode(data) if whole else Unreadable(0, 0, f"{len(data)} bytes that are no frame")


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new channel: ours, and one for a child."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
