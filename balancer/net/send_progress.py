"""Does a peer take what is sent to it?

The kernel's buffers hide that: a socket becomes writable only when a good part of its buffer, maybe megabytes, is free
again, and a slow reader may need minutes for that. So we ask the kernel how much the peer has not acknowledged yet
(``SIOCOUTQ``, tcp(7)). That is a system call, made only when a deadline has passed.
"""

import struct
from fcntl import ioctl
from termios import TIOCOUTQ

from balancer.net.transport import Transport


def acknowledged(transport: Transport) -> int:
    """Return the number of bytes that the peer has acknowledged so far."""
    try:
        (waiting,) = struct.unpack("i", ioctl(transport.sock, TIOCOUTQ, bytes(4)))
    except OSError:  # the connection is gone: the next write says so
        waiting = 0
    return transport.sent - int(waiting)


class SendProgress:
    """How much those of ``transports`` that have something unsent have acknowledged, to be compared at ``until``."""

    def __init__(self, transports: tuple[Transport, ...], until: float) -> None:
        self.until = until
        self._before = [
            (transport, acknowledged(transport)) for transport in transports if transport.unsent is not None
        ]

    def stalled(self) -> Transport | None:
        """Return one that still has something unsent, and whose peer has acknowledged nothing since; or None."""
        for transport, before in self._before:
            if transport.unsent is not None and acknowledged(transport) <= before:
                return transport
        return None
