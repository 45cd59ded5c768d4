"""Limits on the number of connections or handshakes, over all workers."""

from itertools import islice, takewhile

from balancer.net.engine import Engine, Task, TimedOut, Watch
from balancer.shared.counters import Kind, SharedCounters

HANDSHAKE_TURN = 1.0
"""Seconds that a handshake may take while others wait to begin theirs."""
HANDSHAKES_CUT = 64
"""Handshakes cut at once, at most."""


class ConnectionLimit:
    """Connections of one kind: how many this worker has, how many all may have, and whom to wake when one leaves."""

    __slots__ = ("_cell", "_engine", "held", "limit", "waiting")

    def __init__(self, engine: Engine, limit: int, shared_counters: SharedCounters, kind: Kind, index: int = 0) -> None:
        self._engine = engine
        self._cell = shared_counters.cell(kind, index)
        self.limit = limit
        """0 is no limit."""
        self.held = 0
        self.waiting: set[Task] = set()

    def full(self) -> bool:
        """Would one more be too many?"""
        return 0 < self.limit <= self._cell.total()

    def enter(self) -> None:
        """One connection more."""
        self.held += 1
        self._cell.put(self.held)

    def claim(self) -> bool:
        """Enter, if there is a place. Counts first and looks then: another worker may do the same at this moment."""
        self.enter()
        if 0 < self.limit < self._cell.total():
            self.disclaim()
            return False
        return True

    def disclaim(self) -> None:
        """Nobody has taken the place that was claimed."""
        self.held -= 1
        self._cell.put(self.held)

    def leave(self) -> None:
        """One connection less."""
        self.disclaim()
        if self.waiting:
            for task in list(self.waiting):
                self._engine.wake(task)

    def press(self, newcomers: int) -> None:
        """So many wait for room; a kind whose connections may be cut makes some."""


class HandshakeLimit(ConnectionLimit):
    """Handshakes in flight, the oldest first."""

    __slots__ = ("_began", "cut")

    def __init__(self, engine: Engine, limit: int, shared_counters: SharedCounters) -> None:
        super().__init__(engine, limit, shared_counters, Kind.HANDSHAKES)
        self._began: dict[Watch, float] = {}
        self.cut = 0

    def begin(self, client: Watch) -> None:
        """A client has been accepted and is to shake hands."""
        self._began[client] = self._engine.now
        self.enter()

    def end(self, client: Watch) -> None:
        """It has done so, or will not; without effect on one that did not begin."""
        if self._began.pop(client, None) is not None:
            self.leave()

    def press(self, newcomers: int) -> None:
        """Cut as many as there are newcomers, of those that have had their turn; their places are free at once."""
        oldest = self._engine.now - HANDSHAKE_TURN
        late = takewhile(lambda client: self._began[client] <= oldest, self._began)
        for client in list(islice(late, min(newcomers, HANDSHAKES_CUT))):
            self.end(client)
            if client.task is not None:
                self._engine.throw(client.task, TimedOut())
            self.cut += 1
