"""Connecting to a backend, and keeping connections that may serve again."""

import errno
import os
import socket
from typing import Final

from balancer.config.scalars import Address
from balancer.errors import ProxyError, Retry, Source
from balancer.net.engine import Engine, Task, TimedOut
from balancer.net.park import PARK
from balancer.net.transport import PlainTransport, Transport

MAX_IDLE: Final = 256
"""Idle connections kept for each backend, at most."""
FRESH: Final = 1.0
"""Seconds for which an idle connection may serve a request that must not be sent twice."""


async def dial(engine: Engine, task: Task, address: Address) -> PlainTransport:
    """Connect, within the task's deadline.

    Raise ``ProxyError``: one that may always be retried elsewhere, or an internal one if no socket can be opened.
    """
    if address.path:
        family, target = socket.AF_UNIX, address.path
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        target = (address.host, address.port)  # type: ignore[assignment]
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _no_socket(error) from None
    try:
        if not address.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outcome = sock.connect_ex(target)
        if outcome not in (0, errno.EINPROGRESS):  # EAGAIN of a Unix socket: its backlog is full
            raise _refused(outcome)
        # Registered only now: epoll reports a socket that was never connected as hung up.
        transport = PlainTransport(engine, sock, Source.BACKEND, task)
    except OSError as error:
        sock.close()
        raise _no_socket(error) from None
    except BaseException:
        sock.close()
        raise
    if outcome == 0:
        transport.writable = True
        return transport
    try:
        while not transport.writable:
            await PARK
        if outcome := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise _refused(outcome)
    except TimedOut:
        transport.close()
        raise ProxyError(Source.BACKEND, 504, "connect timed out", Retry.ALWAYS) from None
    except BaseException:
        transport.close()
        raise
    return transport


def _no_socket(error: OSError) -> ProxyError:
    """Return the error for a lack of descriptors, memory or watches (epoll_ctl(2)): no fault of the backend."""
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return ProxyError(Source.INTERNAL, 503, f"cannot open a socket ({name})")


def _refused(number: int) -> ProxyError:
    text = os.strerror(number).lower()
    return ProxyError(Source.BACKEND, 502, f"connect failed: {text}", Retry.ALWAYS)


class IdleConnections:
    """Connections to one backend between two requests, the most recently used first.

    While idle they belong to no task, but their watches note what happens. One that is not ``quiet``, because its
    backend has closed it or sent something out of turn, is closed and never used again.
    """

    __slots__ = ("_idle", "limit")

    def __init__(self, limit: int = MAX_IDLE) -> None:
        self._idle: list[tuple[float, Transport]] = []
        self.limit = limit

    def __len__(self) -> int:
        return len(self._idle)

    def put(self, transport: Transport, now: float) -> None:
        """Keep a connection whose last response was read to its end."""
        if not transport.quiet() or len(self._idle) >= self.limit:
            transport.close()
            return
        transport.task = None
        self._idle.append((now, transport))

    def take(self, task: Task, since: float) -> Transport | None:
        """Return the most recently used connection, if it was put back at ``since`` or later, else None."""
        while self._idle:
            last_used, transport = self._idle[-1]
            if not transport.quiet():
                self._idle.pop()
                transport.close()
            elif last_used < since:
                return None
            else:
                self._idle.pop()
                transport.task = task
                return transport
        return None

    def expire(self, before: float) -> None:
        """Close the connections that were put back before then, or that their backend has closed."""
        kept = []
        for last_used, transport in self._idle:
            if last_used < before or not transport.quiet():
                transport.close()
            else:
                kept.append((last_used, transport))
        self._idle = kept
