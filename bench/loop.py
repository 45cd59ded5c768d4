"""The loop under our own clients and servers: each connection is a generator that yields what it waits for.

It is as little as a benchmark needs, for it shares the machine with what is measured. Sockets do not block; whoever
sends or receives tries first and waits after.
"""

import select
import socket
import ssl
from collections.abc import Generator

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

Wait = tuple[socket.socket, int]
"""A socket, and whether it shall become readable or writable."""
Steps = Generator[Wait, None, None]

_MESSAGE = 32 * 1024
"""Bytes received at once, at most, to be looked at."""
_BULK = 256 * 1024
"""The same for those that nobody looks at."""


class Stuck(Exception):
    """Nothing at all has happened for too long."""


class Loop:
    """Steps generators until all have ended."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, tuple[socket.socket, int, Steps]] = {}
        self._running = 0

    def start(self, steps: Steps) -> None:
        """Take in one more generator, and run it to where it waits first."""
        self._running += 1
        self._step(steps)

    def run(self, patience: float | None = None) -> None:
        """Go on until all have ended. Raises ``Stuck`` after so many seconds without any event."""
        while self._running:
            if not self.turn(patience):
                raise Stuck(f"{self._running} connections had no answer for {patience:g} s")

    def turn(self, patience: float | None) -> bool:
        """Step those who have something to do, after waiting for so many seconds at most; is there anybody?"""
        events = self._epoll.poll(patience)
        for number, _ in events:
            sock, _, steps = self._waiting[number]
            if not self._step(steps):
                del self._waiting[number]
                if sock.fileno() == number:  # still open: what comes now is for nobody
                    self._epoll.unregister(number)
        return bool(events)

    def fileno(self) -> int:
        """A descriptor that is readable while somebody has something to do."""
        return self._epoll.fileno()

    def _step(self, steps: Steps) -> bool:
        """False once it has ended."""
        wait = next(steps, None)
        if wait is None:
            self._running -= 1
            return False
        sock, mask = wait
        number = sock.fileno()
        known = self._waiting.get(number)
        if known is None or known[0] is not sock:  # one that was closed has left the epoll set by itself
            self._epoll.register(number, mask)
        elif known[1] != mask:
            self._epoll.modify(number, mask)
        elif known[2] is steps:
            return True
        self._waiting[number] = sock, mask, steps
        return True


def send(sock: socket.socket, data: bytes | memoryview) -> Steps:
    """Send all of it."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            yield sock, WRITE
        except ssl.SSLWantReadError:
            yield sock, READ


def receive(sock: socket.socket) -> Generator[Wait, None, bytes]:
    """What there is, once there is something; empty at the end of the stream."""
    while True:
        try:
            return sock.recv(_MESSAGE)
        except (BlockingIOError, ssl.SSLWantReadError):
            yield sock, READ


def discard(sock: socket.socket, count: int) -> Steps:
    """Receive so many bytes that nobody looks at. Raises ``ConnectionError`` if the stream ends before."""
    buffer = memoryview(bytearray(min(count, _BULK)))
    while count:
        try:
            got = sock.recv_into(buffer[:count])
        except (BlockingIOError, ssl.SSLWantReadError):
            yield sock, READ
            continue
        if not got:
            raise ConnectionError(f"the connection was closed {count} bytes too early")
        count -= got
