"""Listening sockets and the coroutine that accepts from one.

What accept(2) may say and what we do (after trio's review of the literature in ``_highlevel_socket.py``): errors of the
one connection that was about to be accepted are skipped; a lack of descriptors or memory must not spin and must not
leave the client hanging, so one descriptor is kept in reserve, given up to accept and close that client, and taken
again (libuv's trick); where even that fails, accepting rests until the next look at the deadlines.
At the connection limit we stop accepting instead: clients wait in the kernel's backlog.
"""

import errno
import math
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from balancer.config.scalars import Address
from balancer.net.engine import Engine, TimedOut, Watch, park

BACKLOG = 4096
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


def open_listener(address: Address) -> socket.socket:
    """A non-blocking listening TCP socket. Raises ``OSError`` when the address cannot be bound."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


class Gate:
    """Room for connections: how many there are, how many there may be, and whom to wake when one leaves."""

    def __init__(self, engine: Engine, limit: int) -> None:
        self.engine = engine
        self.limit = limit
        self.held = 0
        self.refused = 0
        """Connections closed at once for want of descriptors."""
        self.acceptors: list[Acceptor] = []
        self._reserve = -1
        self.take_reserve()

    def leave(self) -> None:
        """One connection has ended."""
        self.held -= 1
        if self.held == self.limit - 1:
            for acceptor in self.acceptors:
                if acceptor.task is not None:
                    self.engine.wake(acceptor.task)

    def refuse(self, listener: socket.socket) -> bool:
        """Out of descriptors: accept the next client with the reserve, to close it rather than leave it hanging.

        False when that failed too: the client has left, or somebody else has taken the descriptor.
        """
        self.close()
        try:
            sock, _ = listener.accept()
        except OSError:
            return False
        else:
            sock.close()
            self.refused += 1
            return True
        finally:
            self.take_reserve()

    def close(self) -> None:
        """Give the reserve back."""
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def take_reserve(self) -> None:
        """Take the reserve, unless there is one already or none to be had."""
        if self._reserve < 0:
            with suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class Acceptor(Watch):
    """A listening socket in the engine; ``handle`` gets each accepted socket (non-blocking) and the peer's address."""

    __slots__ = ("_gate", "_handle", "sock")

    def __init__(self, gate: Gate, sock: socket.socket, handle: Callable[[socket.socket, Any], None]) -> None:
        super().__init__(sock.fileno(), None)
        self.sock = sock
        self._gate = gate
        self._handle = handle

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
                while not self.readable or gate.held >= gate.limit:
                    await park()
                if self._accept_some():
                    await gate.engine.give_way()
                else:
                    await self._rest()
        finally:
            gate.acceptors.remove(self)
            self.close()

    def close(self) -> None:
        """Stop listening."""
        if self.fd >= 0:
            self._gate.engine.forget(self)
            self.fd = -1
            self.sock.close()

    async def _rest(self) -> None:
        """Until the next look at the deadlines, or the next client."""
        task = self.task
        assert task is not None
        task.expires = self._gate.engine.now
        with suppress(TimedOut):
            await park()
        task.expires = math.inf
        self._gate.take_reserve()

    def _accept_some(self) -> bool:
        """One batch; false when there is no room for the next client, not even to refuse it."""
        gate = self._gate
        for _ in range(min(ACCEPT_BATCH, gate.limit - gate.held)):
            try:
                client, peer = self.sock.accept()
            except BlockingIOError:
                self.readable = False
                break
            except OSError as error:
                if error.errno in _NO_ROOM:
                    if not gate.refuse(self.sock):
                        return False
                elif error.errno not in _ITS_OWN_FAULT:
                    raise
                continue
            gate.held += 1
            client.setblocking(False)
            try:
                self._handle(client, peer)
            except Exception:  # the kernel may have no room for it in the engine; the listener lives on
                client.close()
                gate.leave()
                gate.engine.crashed()
        return True
