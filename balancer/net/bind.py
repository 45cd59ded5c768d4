"""Open listening sockets, and explain why one cannot be opened."""

import errno
import socket
import struct

from balancer.config.scalars import Address
from balancer.errors import InUse, Refused

BACKLOG = 4096
_QUEUED = struct.Struct("24xI")
"""``struct tcp_info`` of linux/tcp.h up to ``tcpi_unacked``."""
_ADVICE = {
    errno.EADDRINUSE: "; another program listens there: `ss -ltnp` shows which",
    errno.EACCES: "; ports below 1024 need root, or a service with AmbientCapabilities=CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "; this machine does not have that address (`ip address`): bind 0.0.0.0 or [::], or, "
    "for one that comes and goes, set the sysctl net.ipv4.ip_nonlocal_bind or net.ipv6.ip_nonlocal_bind",
}


def open_listener(address: Address) -> socket.socket:
    """Return a non-blocking listening TCP socket, alone on its address. Raise ``OSError`` if it cannot be bound."""
    sock = bound(address, alone=True)
    try:
        listening(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def bound(address: Address, *, alone: bool) -> socket.socket:
    """Return a non-blocking TCP socket bound to ``address``. Raise ``OSError`` if it cannot be bound.

    With ``alone`` it fails if another socket listens there; else it is bound beside others of ours. In both cases later
    ones that are not ``alone`` may be bound beside it (see ``daemon.sockets``).
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, not alone)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
        sock.bind((address.host, address.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def refusal(what: str, error: OSError) -> Refused:
    """Return the error for an address ``what`` that cannot be bound: the system's reason, and what to do about it."""
    kind = InUse if error.errno == errno.EADDRINUSE else Refused
    return kind(f"{what}: {error.strerror}{_ADVICE.get(error.errno or 0, '')}")


def listening(sock: socket.socket) -> None:
    """Let clients connect and wait until they are accepted; may be repeated. Raise ``OSError`` if that fails."""
    sock.listen(BACKLOG)


def queued(sock: socket.socket) -> int:
    """How many clients wait at a listening socket: what ``tcpi_unacked`` of tcp(7) is there, and ss(8) shows."""
    waiting: int = _QUEUED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUED.size))[0]
    return waiting
