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
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from balancer.net.admission import Admission
from balancer.net.bind import queued
from balancer.net.connection_limit import ConnectionLimit
from balancer.net.engine import Closed, TimedOut, Watch, park

ACCEPT_BATCH = 64
"""Connections accepted before everybody else gets a turn."""

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


class Acceptor(Watch):
    """A listening socket in the engine; ``handle`` gets each accepted socket (non-blocking) and the peer's address.

    A connection is counted in its listener's limit and in that of the worker before ``handle`` sees it; whoever ends it
    leaves both. Nothing is accepted while one of these, or one of ``crowded``, is full.
    """

    __slots__ = ("_admission", "_crowded", "_handle", "_limit", "sock")

    def __init__(
        self,
        admission: Admission,
        connection_limit: ConnectionLimit,
        sock: socket.socket,
        handle: Callable[[socket.socket, Any], None],
        crowded: tuple[ConnectionLimit, ...] = (),
    ) -> None:
        super().__init__(sock.fileno(), None)
        self.sock = sock
        self._admission = admission
        self.serve(connection_limit, handle, crowded)

    def serve(
        self,
        connection_limit: ConnectionLimit,
        handle: Callable[[socket.socket, Any], None],
        crowded: tuple[ConnectionLimit, ...],
    ) -> None:
        """Accept for this listener from now on."""
        self._limit = connection_limit
        self._handle = handle
        self._crowded = (self._admission.connections, connection_limit, *crowded)

    def start(self) -> None:
        """Accept from now on."""
        engine = self._admission.engine
        engine.watch(self)
        self._admission.acceptors.append(self)
        self.task = engine.spawn(self._accept())

    async def _accept(self) -> None:
        admission = self._admission
        try:
            while True:
                while not self.readable:
                    await park()
                connection_limit = self._full()
                if connection_limit is not None:
                    connection_limit.press(queued(self.sock))
                    if connection_limit.full():
                        await self._wait(connection_limit)
                elif self._accept_some():
                    await admission.engine.give_way()
                else:
                    await self._rest()
                    admission.take_reserve()
        finally:
            admission.acceptors.remove(self)
            self.close()

    def stop(self) -> None:
        """Accept nobody more, and close the socket; who waits at it is lost unless it is open somewhere else."""
        if self.task is not None:
            self._admission.engine.throw(self.task, Closed())

    def close(self) -> None:
        """Stop listening."""
        if self.fd >= 0:
            self._admission.engine.forget(self)
            self.fd = -1
            self.sock.close()

    def _full(self) -> ConnectionLimit | None:
        return next((connection_limit for connection_limit in self._crowded if connection_limit.full()), None)

    def _claim(self) -> bool:
        """A place for the next client, before it is accepted."""
        if not self._admission.connections.claim():
            return False
        if not self._limit.claim():
            self._admission.connections.disclaim()
            return False
        return True

    def _disclaim(self) -> None:
        self._limit.disclaim()
        self._admission.connections.disclaim()

    async def _wait(self, connection_limit: ConnectionLimit) -> None:
        """Until somebody leaves: here, or in another worker by the next look at the deadlines."""
        task = self.task
        assert task is not None
        connection_limit.waiting.add(task)
        try:
            await self._rest()
        finally:
            connection_limit.waiting.discard(task)

    async def _rest(self) -> None:
        """Until the next look at the deadlines, or the next client."""
        task = self.task
        assert task is not None
        task.expires = self._admission.engine.now
        with suppress(TimedOut):
            await park()
        task.expires = math.inf

    def _accept_some(self) -> bool:
        """One batch; false when there is no room for the next client, not even to refuse it."""
        admission = self._admission
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
                    if not admission.refuse_next(self.sock):
                        return False
                elif error.errno not in _ITS_OWN_FAULT:
                    raise
                continue
            if admission.starved:
                self._disclaim()
                admission.refuse(client, "memory")
                continue
            client.setblocking(False)
            try:
                self._handle(client, peer)
            except Exception:  # the kernel may have no room for it in the engine; the listener lives on
                client.close()
                self._limit.leave()
                admission.connections.leave()
                admission.engine.crashed()
            if self._full() is not None:
                break
        return True
