"""The event loop of our own clients and servers: each connection is a generator that yields what it waits for.

It is minimal because it shares the machine with the measured proxy. Sockets are non-blocking; sending and receiving
are tried first, and waited for only if they would block.
"""

import select
import socket
import ssl
from collections.abc import Generator

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

Wait = tuple[socket.socket, int]
"""A socket, and ``READ`` or ``WRITE``."""
Steps = Generator[Wait, None, None]

_MAX_RECEIVE = 32 * 1024
"""Bytes received at once by ``receive``, at most."""
_MAX_DISCARD = 256 * 1024
"""Bytes received at once by ``discard``, at most."""


class Stalled(Exception):
    """Nothing has happened for too long."""


class Loop:
    """Steps generators when the sockets they wait for are ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, tuple[socket.socket, int, Steps]] = {}
        self._running = 0

    def start(self, steps: Steps) -> None:
        """Add a generator and run it up to its first wait."""
        self._running += 1
        self._step(steps)

    def run(self, timeout: float | None = None) -> None:
        """Run until all generators have ended. Raises ``Stalled`` after ``timeout`` seconds without an event."""
        while self._running:
            if not self.turn(timeout):
                raise Stalled(f"{self._running} connections had no answer for {timeout:g} s")

    def turn(self, timeout: float | None) -> bool:
        """Wait up to ``timeout`` seconds for events and step their generators; return whether there were any."""
        events = self._epoll.poll(timeout)
        for number, _ in events:
            sock, _, steps = self._waiting[number]
            if not self._step(steps):
                del self._waiting[number]
                if sock.fileno() == number:  # still open, but nothing waits for it any more
                    self._epoll.unregister(number)
        return bool(events)

    def fileno(self) -> int:
        """Return a descriptor that is readable while there are events."""
        return self._epoll.fileno()

    def _step(self, steps: Steps) -> bool:
        """Run up to the next wait; False if the generator has ended."""
        wait = next(steps, None)
        if wait is None:
            self._running -= 1
            return False
        sock, mask = wait
        number = sock.fileno()
        known = self._waiting.get(number)
        if known is None or known[0] is not sock:  # closed sockets leave the epoll set by themselves
            self._epoll.register(number, mask)
        elif known[1] != mask:
            self._epoll.modify(number, mask)
        elif known[2] is steps:
            return True
        self._waiting[number] = sock, mask, steps
        return True


def send(sock: socket.socket, data: bytes | memoryview) -> Steps:
    """Send all data."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            yield sock, WRITE
        except ssl.SSLWantReadError:
            yield sock, READ


def receive(sock: socket.socket) -> Generator[Wait, None, bytes]:
    """Wait for data and return it; empty at the end of the stream."""
    while True:
        try:
            return sock.recv(_MAX_RECEIVE)
        except (BlockingIOError, ssl.SSLWantReadError):
            yield sock, READ


def discard(sock: socket.socket, count: int) -> Steps:
    """Receive ``count`` bytes and discard them. Raises ``ConnectionError`` if the stream ends before."""
    buffer = memoryview(bytearray(min(count, _MAX_DISCARD)))
    while count:
        try:
            got = sock.recv_into(buffer[:count])
        except (BlockingIOError, ssl.SSLWantReadError):
            yield sock, READ
            continue
        if not got:
            raise ConnectionError(f"the connection was closed {count} bytes too early")
        count -= got
