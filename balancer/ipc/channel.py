"""What the supervisor and a child of it say to each other: small JSON objects, with descriptors where one is handed on.

SOCK_SEQPACKET (unix(7)) keeps the boundaries of messages, tells each side of the other's end, and takes descriptors
along (SCM_RIGHTS), at most 253 with one message.
"""

import array
import json
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio

MOST_FDS = 200
"""Descriptors in one message."""
_SIZE = 1 << 17
"""Bytes of the longest message."""


@dataclass(frozen=True)
class Message:
    """One message: what it is, what it says, and the descriptors that came with it, which are the receiver's now."""

    kind: str
    fields: dict[str, Any]
    fds: list[int] = field(default_factory=list)


class Channel:
    """One end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = trio.socket.from_stdlib_socket(sock)

    async def send(self, kind: str, fds: Sequence[int] = (), **fields: Any) -> None:  # noqa: ANN401  # JSON values
        """Send one message; without effect when either end is gone, which its owner learns otherwise."""
        if self._sock.fileno() < 0:
            return
        data = json.dumps({"kind": kind, **fields}).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with suppress(BrokenPipeError, ConnectionResetError, trio.ClosedResourceError):
            await self._sock.sendmsg([data], rights)

    async def receive(self) -> Message | None:
        """The next message; None when there will be none any more."""
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
        if not data:
            for fd in fds:
                os.close(fd)
            return None
        fields = json.loads(data)
        return Message(fields.pop("kind"), fields, list(fds))

    def close(self) -> None:
        """Close this end."""
        self._sock.close()


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a new channel: ours, and one for a child."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
