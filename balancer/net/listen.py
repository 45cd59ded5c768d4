"""The coroutine that accepts from a listening socket.

What accept(2) may say and what we do (after trio's review of the literature in ``_highlevel_socket.py``): errors of the
one connection that was about to be accepted are skipped; a lack of descriptors or memory must not spin and must not
leave the client hanging, so one descriptor is kept in reserve, given up to accept and close that client, and taken
again (libuv's trick); where even that fails, accepting rests until the next look at the deadlines.
Where there is no room (``balancer.net.admission``) we stop accepting instead: clients wait in the kernel's backlog.
"""

import errno
import math
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from balancer.net.admission import Admission
from balancer.net.connection_limit import ConnectionLimit
from balancer.net.engine import Closed, TimedOut, Watch, park

ACCEPT_BATCH = 64
"""Connections accepted before everybody else gets a turn."""

_QUEUED = struct.Struct("24xI")
"""``struct tcp_info`` of linux/tcp.h up to ``tcpi_unacked``."""

_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_ITS_OWN_FAULT = {
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
}


def queued(sock: socket.socket) -> int:
    """How many clients wait at a listening socket: what ``tcpi_unacked`` of tcp(7) is there, and ss(8) shows."""
    waiting: int = _QUEUED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUED.size))[0]
    return waiting


class Acceptor(Watch):
    """A listening socket in the engine; ``handle`` gets each accepted socket (non-blocking) and the peer's address.

    A connection has entered ``room``, that of its listener, and the gate's, before ``handle`` sees it; whoever ends it
    leaves both. While one of ``crowded``, or one of those two, is full, nobody is accepted.
    """

    __slots__ = ("_crowded", "_gate", "_handle", "_room", "sock")

    def __init__(
        self,
        gate: Admission,
        room: ConnectionLimit,
        sock: socket.socket,
        handle: Callable[[socket.socket, Any], None],
        crowded: tuple[ConnectionLimit, ...] = (),
    ) -> None:
        super().__init__(sock.fileno(), None)
        self.sock = sock
        self._gate = gate
        self.serve(room, handle, crowded)

    def serve(
        self, room: ConnectionLimit, handle: Callable[[socket.socket, Any], None], crowded: tuple[ConnectionLimit, ...]
    ) -> None:
        """Accept for this listener from now on."""
        self._room = room
        self._handle = handle
        self._crowded = (self._gate.connections, room, *crowded)

    def start(self) -> None:
        """Accept from now on."""
        engine = self._gate.engine
        engine.watch(self)
        self._gate.acceptors.append(self)
        self.task = engine.spawn(self._accept())

    async def _accept(self) -> None:
        gate = self._gate
        try:
            while True:
                while not self.readable:
                    await park()
                room = self._full()
                if room is not None:
                    room.press(queued(self.sock))
                    if room.full():
                        await self._wait(room)
                elif self._accept_some():
                    await gate.engine.give_way()
                else:
                    await self._rest()
                    gate.take_reserve()
        finally:
            gate.acceptors.remove(self)
            self.close()

    def stop(self) -> None:
        """Accept nobody more, and close the socket; who waits at it is lost unless it is open somewhere else."""
        if self.task is not None:
            self._gate.engine.throw(self.task, Closed())

    def close(self) -> None:
        """Stop listening."""
        if self.fd >= 0:
            self._gate.engine.forget(self)
            self.fd = -1
            self.sock.close()

    def _full(self) -> ConnectionLimit | None:
        return next((room for room in self._crowded if room.full()), None)

    def _claim(self) -> bool:
        """A place for the next client, before it is accepted."""
        if not self._gate.connections.claim():
            return False
        if not self._room.claim():
            self._gate.connections.disclaim()
            return False
        return True

    def _disclaim(self) -> None:
        self._room.disclaim()
        self._gate.connections.disclaim()

    async def _wait(self, room: ConnectionLimit) -> None:
        """Until somebody leaves: here, or in another worker by the next look at the deadlines."""
        task = self.task
        assert task is not None
        room.waiting.add(task)
        try:
            await self._rest()
        finally:
            room.waiting.discard(task)

    async def _rest(self) -> None:
        """Until the next look at the deadlines, or the next client."""
        task = self.task
        assert task is not None
        task.expires = self._gate.engine.now
        with suppress(TimedOut):
            await park()
        task.expires = math.inf

    def _accept_some(self) -> bool:
        """One batch; false when there is no room for the next client, not even to refuse it."""
        gate = self._gate
        for _ in range(ACCEPT_BATCH):
            if not self._claim():
                break
            try:
                client, peer = self.sock.accept()
            except BlockingIOError:
                self._disclaim()
                self.readable = False
                break
            except OSError as error:
                self._disclaim()
                if error.errno in _NO_ROOM:
                    if not gate.refuse_next(self.sock):
                        return False
                elif error.errno not in _ITS_OWN_FAULT:
                    raise
                continue
            if gate.starved:
                self._disclaim()
                gate.refuse(client, "memory")
                continue
            client.setblocking(False)
            try:
                self._handle(client, peer)
            except Exception:  # the kernel may have no room for it in the engine; the listener lives on
                client.close()
                self._room.leave()
                gate.connections.leave()
                gate.engine.crashed()
            if self._full() is not None:
                break
        return True
