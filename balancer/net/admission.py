"""Admission: how many connections there may be, from which clients, and how fast they may come.

There are two answers to too many connections, as in haproxy. At a limit for all clients together (all connections,
those of a listener, handshakes in flight) we stop accepting: clients wait in the kernel's backlog and take turns as
others leave. When a single client has too many, or is too fast, or when memory runs out, waiting would hold up the
others or make it worse: the connection is accepted and reset, before TLS, which costs some microseconds and leaves
nothing behind.

Unfinished handshakes give way to newcomers, as in a SYN queue: at the limit those that have taken longer than a second
are cut, one for each newcomer that waits, so that clients that never go on cannot keep the others out. When many
clients come back at once, slow ones among them, none is cut without need.

All limits are for all workers together (``balancer.shared.counters``). A worker that has reached a limit because of
others checks again with every check of the deadlines.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Final

from balancer.config.settings import LimitSettings
from balancer.net.connection_limit import ConnectionLimit, HandshakeLimit
from balancer.net.engine import Engine, Watch
from balancer.net.memory import ceiling, resident
from balancer.net.transport import reset
from balancer.shared.buckets import Metered
from balancer.shared.counters import Kind, SharedCounters
from balancer.shared.sketch import SketchCells

logger = logging.getLogger("balancer.admission")
RELIEF: Final = 0.95
"""Connections are accepted again below this share of the memory limit."""
REPORT_INTERVAL: Final = 10.0
"""Seconds between two log lines about refused connections, at least."""

_WORDS: Final = {
    "descriptors": "for lack of file descriptors: raise LimitNOFILE",
    "memory": "for lack of memory (limits.memory)",
    "client_limit": "of clients that had too many (limits.max_connections_per_client)",
    "client_rate": "of clients that opened them too fast (limits.client_rate)",
    "handshakes": "because too many handshakes were in flight (limits.max_handshakes)",
}
REASONS: Final = tuple(_WORDS)
"""Why a connection is refused."""


class Admission:
    """Decides about every new connection of a worker.

    ``limits`` may be replaced. ``clock`` must be one that all processes share; ``used`` returns how much memory this
    process holds.
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
        """All that accept at present."""
        self.starved = False
        """There is too little memory for new connections."""
        self._refused = dict.fromkeys(REASONS, 0)
        self._buckets = shared_counters.buckets(Metered.CLIENTS)
        self._memory = shared_counters.cell(Kind.MEMORY)
        self.clock = clock
        self._used = used
        self._reported = (0.0, dict(self._refused))
        self._reserve = -1
        self.limits = limits
        self.take_reserve()

    @property
    def limits(self) -> LimitSettings:
        """The active limits."""
        return self._limits

    @limits.setter
    def limits(self, limits: LimitSettings) -> None:
        self._limits = limits
        self.connections.limit = limits.max_connections
        self.handshakes.limit = limits.max_handshakes
        self.per_client = bool(limits.max_connections_per_client or limits.client_rate)
        """There is a limit for single clients."""
        self._ceiling = ceiling(limits.memory)

    @property
    def refused(self) -> dict[str, int]:
        """Connections refused since the start, by reason."""
        return self._refused | {"handshakes": self.handshakes.cut}

    def connection_limit(self, limit: int, listener: int) -> ConnectionLimit:
        """Return the limit for the connections of a listener, given its slot."""
        return ConnectionLimit(self.engine, limit, self.shared_counters, Kind.LISTENER, listener)

    def admit(self, address: str) -> SketchCells | None:
        """Count a connection of this client until ``depart``; None if it has to be refused."""
        limits = self._limits
        cells = self.shared_counters.sketch_cells(client_key(address))
        sketch = self.shared_counters.sketch
        if 0 < limits.max_connections_per_client <= sketch.count(cells):
            self._refused["client_limit"] += 1
        elif limits.client_rate and self._buckets.take(cells, self.clock(), limits.client_rate, limits.client_burst):
            self._refused["client_rate"] += 1
        else:
            sketch.enter(cells)
            return cells
        return None

    def depart(self, cells: SketchCells) -> None:
        """Stop counting a connection that was admitted."""
        self.shared_counters.sketch.leave(cells)

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
            logger.warning("%d MiB of memory are in use: new connections are accepted again", total >> 20)
            self.starved = False

    def report(self) -> None:
        """Log how many connections were refused, if any were, and not too often; to be called every second."""
        since, before = self._reported
        now = self.engine.now
        if now < since + REPORT_INTERVAL:
            return
        refused = self.refused
        fresh = {reason: refused[reason] - before[reason] for reason in REASONS if refused[reason] > before[reason]}
        if fresh:
            self._reported = (now, refused)
        for reason, number in fresh.items():
            logger.warning("%d connections were refused %s", number, _WORDS[reason])

    def refuse(self, sock: socket.socket, reason: str) -> None:
        """Reset a connection, and count it as refused."""
        self._refused[reason] += 1
        reset(sock)

    def refuse_next(self, listener: socket.socket) -> bool:
        """Out of descriptors: accept the next client with the reserve, to close it rather than leave it hanging.

        Return false if that failed too: the client has left, or the descriptor has been taken for something else.
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
        """Close the reserve."""
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def take_reserve(self) -> None:
        """Open the reserve, unless it is open or there is no descriptor for it."""
        if self._reserve < 0:
            with suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def client_key(address: str) -> bytes:
    """Return what stands for the client at an address: an IPv4 address, or a /64 of IPv6, as a subscriber gets one."""
    if ":" not in address:
        return address.encode()
    six = ip_address(address)
    assert isinstance(six, IPv6Address)
    return str(six.ipv4_mapped).encode() if six.ipv4_mapped else six.packed[:8]
