"""Limits on the number of connections or handshakes, over all workers."""

from itertools import islice, takewhile
from typing import Final

from balancer.net.engine import Engine, Task, TimedOut, Watch
from balancer.shared.counters import Kind, SharedCounters

HANDSHAKE_TURN: Final = 1.0
"""Seconds that a handshake may take while others wait to begin."""
HANDSHAKES_CUT: Final = 64
"""Maximal number of handshakes cut at once."""


class ConnectionLimit:
    """Connections of one kind: how many this worker has, how many all may have, and what to wake when one ends."""

    __slots__ = ("_cell", "_engine", "held", "limit", "waiting")

    def __init__(self, engine: Engine, limit: int, shared_counters: SharedCounters, kind: Kind, index: int = 0) -> None:
        self._engine = engine
        self._cell = shared_counters.cell(kind, index)
        self.limit = limit
        """0 is no limit."""
        self.held = 0
        self.waiting: set[Task] = set()

    def full(self) -> bool:
        """Return whether one more would be too many."""
        return 0 < self.limit <= self._cell.total()

    def enter(self) -> None:
        """Count one connection more."""
        self.held += 1
        self._cell.put(self.held)

    def claim(self) -> bool:
        """Count one connection more if the limit allows it; return whether it does.

        It counts first and looks at the total then, as another worker may do the same at this moment.
        """
        self.enter()
        if 0 < self.limit < self._cell.total():
            self.disclaim()
            return False
        return True

    def disclaim(self) -> None:
        """Take back what ``claim`` has counted."""
        self.held -= 1
        self._cell.put(self.held)

    def leave(self) -> None:
        """Count one connection less, and wake what waits for that."""
        self.disclaim()
        if self.waiting:
            for task in list(self.waiting):
                self._engine.wake(task)

    def make_room(self, newcomers: int) -> None:
        """Make room for so many that wait, if connections of this kind may be cut."""


class HandshakeLimit(ConnectionLimit):
    """The limit of handshakes in flight, which are kept in the order of their beginnings."""

    __slots__ = ("_began", "cut")

    def __init__(self, engine: Engine, limit: int, shared_counters: SharedCounters) -> None:
        super().__init__(engine, limit, shared_counters, Kind.HANDSHAKES)
        self._began: dict[Watch, float] = {}
        self.cut = 0

    def begin(self, client: Watch) -> None:
        """Count a client that begins its handshake."""
        self._began[client] = self._engine.now
        self.enter()

    def end(self, client: Watch) -> None:
        """Stop counting a client whose handshake is over; without effect on one that did not begin."""
        if self._began.pop(client, None) is not None:
            self.leave()

    def make_room(self, newcomers: int) -> None:
        """Cut one handshake for each newcomer, of those that have had their time; this makes room at once."""
        before = self._engine.now - HANDSHAKE_TURN
        late = takewhile(lambda client: self._began[client] <= before, self._began)
        for client in list(islice(late, min(newcomers, HANDSHAKES_CUT))):
            self.end(client)
            if client.task is not None:
                self._engine.throw(client.task, TimedOut())
            self.cut += 1
