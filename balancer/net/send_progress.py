"""Does a peer take what is sent to it? The kernel's buffers hide that: a socket becomes writable only when a good part
of its buffer, maybe megabytes, is free again, and a slow reader may need minutes for that. What the peer has not
acknowledged yet is asked of the kernel instead (``SIOCOUTQ``, tcp(7)), and only when a deadline has passed.
"""

import struct
from fcntl import ioctl
from termios import TIOCOUTQ

from balancer.net.transport import Transport


def taken(transport: Transport) -> int:
    """Bytes that the other side has taken so far."""
    try:
        (waiting,) = struct.unpack("i", ioctl(transport.sock, TIOCOUTQ, bytes(4)))
    except OSError:  # the connection is gone: the next write says so
        waiting = 0
    return transport.sent - int(waiting)


class SendStall:
    """Those of some transports that do not take what is unsent, and how far each of them has come."""

    def __init__(self, transports: tuple[Transport, ...], until: float) -> None:
        self.until = until
        """When to look again."""
        self._taken = [(transport, taken(transport)) for transport in transports if transport.unsent is not None]

    def stuck(self) -> Transport | None:
        """One that still has something to take, and took nothing of it since."""
        for transport, before in self._taken:
            if transport.unsent is not None and taken(transport) <= before:
                return transport
        return None
