"""Connecting to a backend, and keeping connections that may serve again."""

import errno
import os
import socket

from balancer.config.scalars import Address
from balancer.errors import ProxyError, Retry, Source
from balancer.net.engine import Engine, Task, TimedOut, park
from balancer.net.transport import PlainTransport, Transport

MAX_IDLE = 256
"""Idle connections kept per backend."""
FRESH = 1.0
"""Seconds within which an idle connection is trusted with a request that could not be sent twice."""


async def dial(engine: Engine, task: Task, address: Address) -> PlainTransport:
    """Connect, within the task's deadline. Every failure is a ``ProxyError`` that may always be retried elsewhere."""
    if address.path:
        family, target = socket.AF_UNIX, address.path
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        target = (address.host, address.port)  # type: ignore[assignment]
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:  # out of descriptors: no backend's fault
        raise ProxyError(Source.INTERNAL, 503, f"no socket to be had ({_name(error.errno)})") from None
    try:
        if not address.path:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outcome = sock.connect_ex(target)
        if outcome not in (0, errno.EINPROGRESS):  # EAGAIN of a Unix socket: its backlog is full
            raise _refused(outcome)
    except BaseException:
        sock.close()
        raise
    # Registered only now: epoll reports a socket that was never connected as hung up.
    transport = PlainTransport(engine, sock, Source.BACKEND, task)
    if outcome == 0:
        transport.writable = True
        return transport
    try:
        while not transport.writable:
            await park()
        if outcome := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise _refused(outcome)
    except TimedOut:
        transport.close()
        raise ProxyError(Source.BACKEND, 504, "connect timed out", Retry.ALWAYS) from None
    except BaseException:
        transport.close()
        raise
    return transport


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, "unknown error")


def _refused(number: int) -> ProxyError:
    text = os.strerror(number).lower()
    return ProxyError(Source.BACKEND, 502, f"connect failed: {text}", Retry.ALWAYS)


class IdleConnections:
    """Connections of one backend between two requests, the latest used first.

    While idle they belong to no task. Whatever happens on one leaves a mark in its watch; one that is not ``quiet``,
    because its backend has closed it or spoken out of turn, is closed, never used.
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

    def take(self, task: Task, oldest: float) -> Transport | None:
        """The most recently used connection, if it was put back at ``oldest`` or later."""
        while self._idle:
            since, transport = self._idle[-1]
            if not transport.quiet():
                self._idle.pop()
                transport.close()
            elif since < oldest:
                return None
            else:
                self._idle.pop()
                transport.task = task
                return transport
        return None

    def expire(self, oldest: float) -> None:
        """Close what was put back before ``oldest`` and what its backend has closed."""
        kept = []
        for since, transport in self._idle:
            if since < oldest or not transport.quiet():
                transport.close()
            else:
                kept.append((since, transport))
        self._idle = kept
