"""The listening sockets, which the supervisor holds as long as it lives: opened, or adopted from systemd.

Some facts. With SO_REUSEPORT (socket(7)) each worker has a socket of its own on the same address, and the kernel deals
connections out by their hash; a worker that dies loses none that wait at its socket, because we hold it too. The option
would also let a second daemon started by mistake take half of the connections without a word. So the first socket of an
address is bound without it, which fails if anybody listens there, and gets it before the others are bound: a bind looks
at the options the bound ones have now. A socket of the service manager outlives us, and all workers accept from it; so
does a client who comes while the daemon restarts wait in its backlog instead of being refused.

With fewer workers there are surplus sockets: those of the last workers, which began to listen last. They stay open
until no client waits there, and the kernel is told to choose among the others meanwhile. It counts sockets in the order
in which they began to listen, and moves the last into the place of one that is closed; so the last are closed first.
"""

import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address

from balancer.config.scalars import Address
from balancer.errors import Refused
from balancer.net.bind import bound, listening, queued, refusal
from balancer.net.reuseport import prefer_first, prefer_none
from balancer.upgrade.state import SocketsState

logger = logging.getLogger("balancer.sockets")

_INTERNET = (socket.AF_INET, socket.AF_INET6)


class Sockets:
    """Sockets by key, for each worker. Changes are prepared, then committed or given up."""

    def __init__(self, handed: Sequence[socket.socket], adopted: SocketsState | None = None) -> None:
        """``handed`` are those of the service manager, ``adopted`` those of the version before."""
        self._handed = list(handed)
        self._open: dict[str, list[list[socket.socket]]] = {}
        """By key, the sockets of each worker; of adopted ones all workers have the same. Those beyond the workers that
        there are to be are surplus."""
        self._workers = 0
        self._next: dict[str, list[list[socket.socket]]] = {}
        self._new: list[socket.socket] = []
        if adopted is not None:
            every = {fd for each in adopted.open.values() for fds in each for fd in fds} | set(adopted.handed)
            known = {fd: socket.socket(fileno=fd) for fd in every}
            self._handed = [known[fd] for fd in adopted.handed]
            self._open = {key: [[known[fd] for fd in fds] for fds in each] for key, each in adopted.open.items()}
            self._workers = adopted.workers

    @property
    def workers(self) -> int:
        """Return for how many workers there are sockets."""
        return self._workers

    def state(self, version: int) -> SocketsState:
        """Return what the next version has to know."""
        opened = {key: [[sock.fileno() for sock in socks] for socks in each] for key, each in self._open.items()}
        return SocketsState(opened, [sock.fileno() for sock in self._handed], self._workers, version)

    def prepare(self, wanted: Mapping[str, Address], workers: int) -> dict[str, tuple[str, ...]]:
        """Open the sockets that are missing, all or none; return the bound addresses by key.

        Raise ``Refused`` for an address that cannot be bound.
        """
        self.give_up()
        with ExitStack() as stack:
            stack.callback(self.give_up)
            for key, address in wanted.items():
                self._next[key] = self._for(key, address, workers)
            stack.pop_all()
        return {key: tuple(_name(sock) for sock in each[0]) for key, each in self._next.items()}

    def attempt(self, wanted: Mapping[str, Address]) -> None:
        """Bind the addresses that are missing, and let them go: a client must not connect to a socket that goes again.

        Raise ``Refused`` as ``prepare`` would.
        """
        for key, address in wanted.items():
            if not self._handed_for(address) and key not in self._open:
                _bound(key, address, alone=True).close()

    def give_up(self) -> None:
        """Forget what was prepared."""
        for sock in self._new:
            sock.close()
        self._new, self._next = [], {}

    def commit(self, workers: int) -> None:
        """Activate what was prepared; close the rest, except surplus sockets."""
        kept = set(_all(self._next))
        for sock in _all(self._open):
            if sock not in kept:
                sock.close()
        for sock in self._handed:
            if sock not in kept:
                _warn_of(sock)
                sock.close()
        self._handed = [sock for sock in self._handed if sock in kept]
        self._open, self._next, self._new = self._next, {}, []
        self._workers = workers
        for key, each in self._open.items():
            if len(each) > workers:
                try:
                    prefer_first(each[0][0], workers)
                except OSError as error:  # a kernel before Linux 4.5, or a sandbox: a few clients may be reset
                    logger.warning("%s: new clients cannot be kept from surplus sockets: %s", key, error.strerror)
            else:
                _deal_to_all(each)

    def of(self, worker: int) -> dict[str, list[int]]:
        """Return the descriptors for a worker, by key. A surplus one shares those of listeners that are newer."""
        return {
            key: [sock.fileno() for sock in each[worker if worker < len(each) else worker % self._workers]]
            for key, each in self._open.items()
        }

    @property
    def preparing(self) -> bool:
        """Whether a change is prepared and neither committed nor given up."""
        return bool(self._next)

    @property
    def has_surplus(self) -> bool:
        """Whether there are more sockets than wanted workers."""
        return any(len(each) > self._workers for each in self._open.values())

    def surplus_queued(self) -> int:
        """Return how many clients wait at surplus sockets."""
        return sum(queued(sock) for each in self._open.values() for (sock,) in each[self._workers :])

    def close_surplus(self) -> None:
        """Close the surplus sockets."""
        for each in self._open.values():
            if len(each) > self._workers:
                while len(each) > self._workers:
                    (sock,) = each.pop()
                    sock.close()
                _deal_to_all(each)

    def close(self) -> None:
        """Close all."""
        self.give_up()
        for sock in {*_all(self._open), *self._handed}:
            sock.close()
        self._open, self._handed = {}, []

    def _for(self, key: str, address: Address, workers: int) -> list[list[socket.socket]]:
        if adopted := self._handed_for(address):
            for sock in adopted:
                _adopt(sock, address)
            return [adopted] * workers
        mine = list(self._open.get(key, []))
        if not mine:
            self._new.append(_bound(key, address, alone=True))
            mine = [[self._new[-1]]]
        host, port = mine[0][0].getsockname()[:2]
        while len(mine) < workers:
            self._new.append(_bound(key, Address(host, port), alone=False))
            mine = [*mine, [self._new[-1]]]
        for (sock,) in mine:
            try:
                listening(sock)
            except OSError as error:
                raise _refusal(key, error) from None
        return mine

    def _handed_for(self, address: Address) -> list[socket.socket]:
        """Return the sockets of the service manager at an address. Raise ``Refused`` if they cannot be used."""
        found = [sock for sock in self._handed if _address(sock) == address]
        if address.host == "::" and any(not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) for sock in found):
            raise Refused(
                f"the service manager's socket for {address} takes IPv4 as well, and would show its clients as IPv6 "
                "ones: set BindIPv6Only=ipv6-only in the socket unit, and give IPv4 a ListenStream of its own"
            )
        return found


def _bound(key: str, address: Address, *, alone: bool) -> socket.socket:
    try:
        return bound(address, alone=alone)
    except OSError as error:
        raise _refusal(key, error) from None


def _refusal(key: str, error: OSError) -> Refused:
    return refusal(f"a listener cannot be opened: {key}", error)


def _deal_to_all(each: Sequence[Sequence[socket.socket]]) -> None:
    with suppress(OSError):  # nothing else was said, or the kernel knows of no such thing
        prefer_none(each[0][0])


def _all(sockets: Mapping[str, Sequence[Sequence[socket.socket]]]) -> Iterator[socket.socket]:
    for per_worker in sockets.values():
        for each in per_worker:
            yield from each


def _name(sock: socket.socket) -> str:
    return str(Address(*sock.getsockname()[:2]))


def _warn_of(sock: socket.socket) -> None:
    logger.warning(
        "the service manager hands over %s, which no listener binds: clients that connect there get no answer; "
        "take it out of the socket unit, or add it to a listener",
        _address(sock) or "a socket that does not listen for TCP connections",
    )


def _address(sock: socket.socket) -> Address | None:
    """Return where a socket listens, as written in configurations; None if it does not accept TCP connections."""
    if sock.family not in _INTERNET or sock.type != socket.SOCK_STREAM:
        return None
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    host, port = sock.getsockname()[:2]
    return Address(str(ip_address(host)), port)


def _adopt(sock: socket.socket, address: Address) -> None:
    if os.get_blocking(sock.fileno()):
        logger.info("%s is a socket of the service manager", address)
        sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by what it accepts
