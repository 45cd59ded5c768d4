"""The coroutine that accepts from a listening socket.

What accept(2) may report and what we do (after the review of the literature in trio's ``_highlevel_socket.py``):

- Errors of the one connection that was about to be accepted are skipped. Linux passes on whatever error is pending on
  the new socket, so this list is long.
- A lack of descriptors or memory must neither spin nor leave the client hanging. So one descriptor is kept in reserve,
  closed to accept that client and close it, and opened again (libuv's trick). If even that fails, accepting rests until
  the next check of the deadlines.
- Any other error is logged once, and accepting rests likewise. It never ends: a listening socket that is open but not
  accepted from still collects clients, which then hang.

While a limit is reached (``balancer.net.admission``) we do not accept either: clients wait in the kernel's backlog.
"""

import errno
import logging
import math
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from balancer.net.admission import Admission
from balancer.net.bind import queued
from balancer.net.connection_limit import ConnectionLimit
from balancer.net.engine import Closed, TimedOut, Watch
from balancer.net.park import PARK

logger = logging.getLogger("balancer.net")

ACCEPT_BATCH: Final = 64
"""Connections accepted before other tasks get their turn."""

_NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_OF_THE_CLIENT: Final = {
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
    errno.ENOSR,
    errno.ESOCKTNOSUPPORT,
    errno.EPROTONOSUPPORT,
    errno.ETIMEDOUT,
    errno.ECONNRESET,
    errno.EINTR,
}


class Acceptor(Watch):
    """A listening socket in the engine; ``handle`` gets each accepted socket (non-blocking) and the peer's address.

    A connection is counted in the limit of its listener and in that of the worker before it is accepted; what ends it
    leaves both. Nothing is accepted while one of these limits, or one of ``others``, is reached.
    """

    __slots__ = ("_admission", "_handle", "_limit", "_limits", "_logged", "sock")

    def __init__(
        self,
        admission: Admission,
        connection_limit: ConnectionLimit,
        sock: socket.socket,
        handle: Callable[[socket.socket, Any], None],
        others: tuple[ConnectionLimit, ...] = (),
    ) -> None:
        super().__init__(sock.fileno(), None)
        self.sock = sock
        self._logged: set[int | None] = set()
        """Errors that have been logged."""
        self._admission = admission
        self.serve(connection_limit, handle, others)

    def serve(
        self,
        connection_limit: ConnectionLimit,
        handle: Callable[[socket.socket, Any], None],
        others: tuple[ConnectionLimit, ...],
    ) -> None:
        """Accept for this listener from now on."""
        self._limit = connection_limit
        self._handle = handle
        self._limits = (self._admission.connections, connection_limit, *others)

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
                try:
                    await self._accept_when_ready()
                except Closed:
                    raise
                except Exception:
                    admission.engine.crashed("accepting failed; it is tried again")
                    await self._pause()
        finally:
            admission.acceptors.remove(self)
            self.close()

    async def _accept_when_ready(self) -> None:
        """Wait for clients, and for room, and accept some."""
        admission = self._admission
        while not self.readable:
            await PARK
        limit = self._reached()
        if limit is not None:
            limit.make_room(queued(self.sock))
            if limit.full():
                await self._wait(limit)
        elif self._accept_some():
            await admission.engine.give_way()
        else:
            await self._pause()
            admission.take_reserve()

    def stop(self) -> None:
        """Accept no more clients, and close the socket; those that wait are lost unless it is open elsewhere."""
        if self.task is not None:
            self._admission.engine.throw(self.task, Closed())

    def close(self) -> None:
        """Stop listening."""
        if self.fd >= 0:
            self._admission.engine.forget(self)
            self.fd = -1
            self.sock.close()

    def _reached(self) -> ConnectionLimit | None:
        return next((limit for limit in self._limits if limit.full()), None)

    def _claim(self) -> bool:
        """Count the next client, before it is accepted; return whether there is room for it."""
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
        """Wait until a connection ends: here, or in another worker by the next check of the deadlines."""
        task = self.task
        assert task is not None
        connection_limit.waiting.add(task)
        try:
            await self._pause()
        finally:
            connection_limit.waiting.discard(task)

    async def _pause(self) -> None:
        """Wait until the next check of the deadlines, or the next client."""
        task = self.task
        assert task is not None
        task.expires = self._admission.engine.now
        with suppress(TimedOut):
            await PARK
        task.expires = math.inf

    def _accept_some(self) -> bool:
        """Accept one batch; return false when accepting has to pause."""
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
                elif error.errno not in _OF_THE_CLIENT:
                    self._log(error)
                    return False
                continue
            if admission.starved:
                self._disclaim()
                admission.refuse(client, "memory")
                continue
            client.setblocking(False)
            try:
                self._handle(client, peer)
            except Exception:  # no memory, or no more watches (epoll_ctl(2)); the listener lives on
                client.close()
                self._limit.leave()
                admission.connections.leave()
                admission.engine.crashed()
            if self._reached() is not None:
                break
        return True

    def _log(self, error: OSError) -> None:
        """Log an error of accept(2) that is not expected, once for each kind."""
        if error.errno not in self._logged:
            self._logged.add(error.errno)
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            text = os.strerror(error.errno or 0)
            logger.error("accepting clients failed: %s (%s); trying again, without more messages about it", text, name)
