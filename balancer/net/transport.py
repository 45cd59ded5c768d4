"""A stream socket driven by the engine: operations that never wait, and the same with waiting.

``receive``, ``transmit`` and ``flush`` never wait; a relay that moves bytes both ways is built on them. ``recv`` and
``send`` wait. What could not be sent yet stays in the transport (``unsent``), and nothing new may be sent before it
has gone: that is all there is to backpressure. A lost connection always raises a ``ProxyError`` of this transport's
side.
"""

import errno
import socket
from abc import abstractmethod
from contextlib import suppress
from typing import Final

from balancer.errors import ProxyError, Retry, Source
from balancer.net.engine import Engine, Task, Watch
from balancer.net.park import PARK
from balancer.shared.compiled import mypyc_attr

READ_SIZE: Final = 20480
"""Bytes asked of the kernel at first: a TLS record, or a head with 16 KiB. It grows while reads come back full."""
MAX_READ_SIZE: Final = 262144
TURN_BYTES: Final = 262144
"""Bytes that one task may move before it gives way; each operation counts as a sixteenth of them."""
_OPERATION: Final = TURN_BYTES // 16


@mypyc_attr(allow_interpreted_subclasses=True)
class Transport(Watch):
    """One side of a connection. ``source`` names the side in errors; ``task`` is woken by its events."""

    __slots__ = ("confirmed", "engine", "finished", "received", "sent", "size", "sock", "source", "unsent")

    def __init__(self, engine: Engine, sock: socket.socket, source: Source, task: Task | None) -> None:
        super().__init__(sock.fileno(), task)
        self.engine = engine
        self.sock = sock
        self.source = source
        self.size = READ_SIZE
        self.unsent: memoryview | None = None
        self.finished = False
        """We have sent our end of stream."""
        self.received = 0
        self.sent = 0
        self.confirmed = 0
        """What ``sent`` was when the peer had last acknowledged all of it (see ``net.peers``); -1 if unknown."""
        engine.watch(self)

    @abstractmethod
    def receive(self) -> bytes | None:
        """Return what has arrived: bytes, ``b""`` at the end of the stream, or None if nothing is there yet."""

    @abstractmethod
    def transmit(self, data: bytes) -> bool:
        """Send; return true if all of it has gone, false if a rest is in ``unsent``, for ``flush``."""

    @abstractmethod
    def pending(self) -> bool:
        """Return whether ``receive`` may return something."""

    @abstractmethod
    def quiet(self) -> bool:
        """Return whether an idle connection may be used: nothing came out of turn, and no end of the stream."""

    @abstractmethod
    def send_eof(self) -> None:
        """Send the end of our stream; reading goes on.

        Nothing may be ``unsent`` before. Afterwards the end itself may be, which ``flush`` then completes.
        """

    def flush(self) -> bool:
        """Go on sending what is ``unsent``; return whether all of it has gone."""
        rest = self.unsent
        if rest is None:
            return True
        if not self.writable:
            return False
        done = self._write(rest)
        if done < len(rest):
            self.unsent = rest[done:]
            return False
        self.unsent = None
        return True

    async def recv(self) -> bytes:
        """Wait for bytes and return them; ``b""`` is the end of the stream."""
        while True:
            while not self.pending():
                await PARK
            task = self.task
            if task is not None and task.spent >= TURN_BYTES:
                await self.engine.give_way()
            data = self.receive()
            if data is not None:
                return data

    async def send(self, data: bytes) -> None:
        """Send all of it, waiting while the peer does not read."""
        if data and not self.transmit(data):
            await self.flushed()

    async def flushed(self) -> None:
        """Wait until nothing is ``unsent``."""
        while not self.flush():
            await PARK

    async def take_turn(self) -> None:
        """Give way if this task has had its share of the worker."""
        task = self.task
        if task is not None and task.spent >= TURN_BYTES:
            await self.engine.give_way()

    def close(self) -> None:
        """Close at once and for good; may be repeated."""
        if self.fd >= 0:
            self.engine.forget(self)
            self.fd = -1
            self.task = None
            self.sock.close()

    def abort(self) -> None:
        """Close with a reset, so that the peer cannot take what it got for the whole."""
        if self.fd >= 0:
            _linger_no_time(self.sock)
            self.close()

    def _read(self) -> bytes | None:
        """Read once from the socket; keep ``readable`` in step with what the kernel still holds."""
        size = self.size
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            self.readable = self.hung_up = False
            return None
        except OSError as error:
            raise self.lost(error) from None
        got = len(data)
        if got == size:
            if size < MAX_READ_SIZE:
                self.size = size * 4
        elif not self.hung_up:
            self.readable = False
        self.received += got
        if (task := self.task) is not None:
            task.spent += _OPERATION + got
        return data

    def _write(self, data: bytes | memoryview) -> int:
        """Write once to the socket; return how many bytes it took."""
        try:
            done = self.sock.send(data)
        except BlockingIOError:
            self.writable = False
            return 0
        except OSError as error:
            raise self.lost(error) from None
        if done < len(data):
            self.writable = False
        self.sent += done
        return done

    def lost(self, error: OSError) -> ProxyError:
        """Return the error for a connection that broke, in words for the log."""
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        status = 400 if self.source is Source.CLIENT else 502
        return ProxyError(self.source, status, f"the {self.source} connection broke ({name})", Retry.UNANSWERED)


def reset(sock: socket.socket) -> None:
    """Close a socket that is not in the engine, with a reset."""
    _linger_no_time(sock)
    sock.close()


def _linger_no_time(sock: socket.socket) -> None:
    """Have ``close`` drop what is unsent and send a reset (socket(7), SO_LINGER)."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


@mypyc_attr(allow_interpreted_subclasses=True)
class PlainTransport(Transport):
    """A transport without TLS."""

    __slots__ = ()

    def receive(self) -> bytes | None:
        return self._read() if self.readable else None

    def pending(self) -> bool:
        return self.readable

    def quiet(self) -> bool:
        return not self.readable

    def transmit(self, data: bytes) -> bool:
        done = self._write(data)
        if done < len(data):
            self.unsent = memoryview(data)[done:]
            return False
        return True

    def send_eof(self) -> None:
        if not self.finished:
            self.finished = True
            self.confirmed = -1  # the end has to be acknowledged as well
            with suppress(OSError):  # the peer may be gone altogether: the next read says so
                self.sock.shutdown(socket.SHUT_WR)
