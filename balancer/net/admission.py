"""Admission: how many connections there may be, from whom, and how fast they may come.

Two answers to too many, as haproxy has them. Where the number is that of everybody together (all connections, those of
a listener, handshakes in flight) nobody accepts: clients wait in the kernel's backlog, and take turns as others leave.
Where one client has too many, or is too fast, or memory runs out, waiting would hold up the others or make it worse:
the connection is accepted and reset, before TLS, which costs some microseconds and leaves nothing behind.

Half-finished handshakes give way to newcomers, as in a SYN queue: at the limit those that have taken longer than a
second are cut, one for each newcomer that waits, so that clients who never go on cannot keep the others out. When many
come back at once, slow ones among them, nobody is cut to no purpose.

All limits hold for all workers together (``balancer.shared.counters``). A worker that is full
because of others checks again at every sweep of the deadlines.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from balancer.config.settings import LimitSettings
from balancer.net.connection_limit import ConnectionLimit, HandshakeLimit
from balancer.net.engine import Engine, Watch
from balancer.net.memory import ceiling, resident
from balancer.net.transport import reset
from balancer.shared.buckets import Metered
from balancer.shared.counters import Kind, SharedCounters
from balancer.shared.sketch import SketchCells

logger = logging.getLogger("balancer.admission")
RELIEF = 0.95
"""Connections are let in again below this share of the memory limit."""
REPORT_INTERVAL = 10.0
"""Seconds between two lines of the log about refusals."""

_WORDS = {
    "descriptors": "for want of file descriptors: raise LimitNOFILE",
    "memory": "for want of memory (limits.memory)",
    "client_limit": "of clients that had too many (limits.max_connections_per_client)",
    "client_rate": "of clients that made too many too fast (limits.client_rate)",
    "handshakes": "because too many were in the middle of their handshake (limits.max_handshakes)",
}
REASONS = tuple(_WORDS)
"""Why a connection is refused."""


class Admission:
    """What every connection of a worker has to pass.

    ``limits`` may be replaced. ``clock`` is one that all processes share; ``used`` tells how much memory this process
    holds.
    """

    def __init__(
        self,
        engine: Engine,
        limits: LimitSettings,
        shared_counters: SharedCounters,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], int] = resident,
    ) -> None:
        self.engine = engine
        self.shared_counters = shared_counters
        self.connections = ConnectionLimit(engine, 0, shared_counters, Kind.CONNECTIONS)
        self.handshakes = HandshakeLimit(engine, 0, shared_counters)
        self.acceptors: list[Watch] = []
        """Who accepts at present."""
        self.starved = False
        """There is too little memory for anybody new."""
        self._refused = dict.fromkeys(REASONS, 0)
        self._buckets = shared_counters.buckets(Metered.CLIENTS)
        self._memory = shared_counters.cell(Kind.MEMORY)
        self.clock = clock
        self._used = used
        self._told = (0.0, dict(self._refused))
        self._reserve = -1
        self.limits = limits
        self.take_reserve()

    @property
    def limits(self) -> LimitSettings:
        """The limits in force."""
        return self._limits

    @limits.setter
    def limits(self, limits: LimitSettings) -> None:
        self._limits = limits
        self.connections.limit = limits.max_connections
        self.handshakes.limit = limits.max_handshakes
        self.per_client = bool(limits.max_connections_per_client or limits.client_rate)
        """Is there any limit for a single client?"""
        self._ceiling = ceiling(limits.memory)

    @property
    def refused(self) -> dict[str, int]:
        """Connections refused so far, by reason."""
        return self._refused | {"handshakes": self.handshakes.cut}

    def connection_limit(self, limit: int, listener: int) -> ConnectionLimit:
        """The connections of a listener, by its number."""
        return ConnectionLimit(self.engine, limit, self.shared_counters, Kind.LISTENER, listener)

    def admit(self, address: str) -> SketchCells | None:
        """Let one connection of this client in, until ``depart``; None if it must be turned away."""
        limits = self._limits
        places = self.shared_counters.places(client_key(address))
        sketch = self.shared_counters.sketch
        if 0 < limits.max_connections_per_client <= sketch.count(places):
            self._refused["client_limit"] += 1
        elif limits.client_rate and self._buckets.take(places, self.clock(), limits.client_rate, limits.client_burst):
            self._refused["client_rate"] += 1
        else:
            sketch.enter(places)
            return places
        return None

    def depart(self, places: SketchCells) -> None:
        """A connection that was admitted has ended."""
        self.shared_counters.sketch.leave(places)

    def check_memory(self) -> None:
        """Compare the memory in use with the limit; to be called every second."""
        with suppress(OSError):  # no descriptor left to look with: keep the last number
            self._memory.put(self._used())
        if not self._ceiling:
            self.starved = False
            return
        total = self._memory.total()
        if not self.starved and total > self._ceiling:
            logger.error(
                "%d MiB of memory are in use, more than the %d MiB of limits.memory: "
                "new connections are refused, the %d that are open are kept",
                total >> 20,
                self._ceiling >> 20,
                self.connections.held,
            )
            self.starved = True
        elif self.starved and total < RELIEF * self._ceiling:
            logger.warning("%d MiB of memory are in use: new connections are welcome again", total >> 20)
            self.starved = False

    def report(self) -> None:
        """Log how many connections were refused, if any were, and not too often; to be called every second."""
        since, before = self._told
        now = self.engine.now
        if now < since + REPORT_INTERVAL:
            return
        refused = self.refused
        fresh = {reason: refused[reason] - before[reason] for reason in REASONS if refused[reason] > before[reason]}
        if fresh:
            self._told = (now, refused)
        for reason, number in fresh.items():
            logger.warning("%d connections were refused %s", number, _WORDS[reason])

    def refuse(self, sock: socket.socket, reason: str) -> None:
        """Turn a connection away."""
        self._refused[reason] += 1
        reset(sock)

    def refuse_next(self, listener: socket.socket) -> bool:
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
            self._refused["descriptors"] += 1
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


def client_key(address: str) -> bytes:
    """Who has this address: an IPv4 address is a client, and so is a /64 of IPv6, which is what a subscriber gets."""
    if ":" not in address:
        return address.encode()
    six = ip_address(address)
    assert isinstance(six, IPv6Address)
    return str(six.ipv4_mapped).encode() if six.ipv4_mapped else six.packed[:8]
