"""What a backend carries in all workers together, where a limit or a bound asks for it."""

from collections import deque
from typing import Generic, TypeVar

from balancer.shared.counters import Kind, SharedCounters

W = TypeVar("W")


class BackendLoad(Generic[W]):
    """The cells of one backend on the board, its limit, and who waits in this worker for a place below it."""

    __slots__ = ("active", "limit", "queued", "slot", "users", "waiting")

    def __init__(self, shared_counters: SharedCounters, slot: int, limit: int) -> None:
        self.slot = slot
        self.limit = limit
        """Requests in flight and tunnels at most; 0 is no limit."""
        self.active = shared_counters.cell(Kind.ACTIVE, slot)
        self.users = shared_counters.cell(Kind.USERS, slot)
        self.queued = shared_counters.cell(Kind.QUEUED, slot)
        self.waiting: deque[W] = deque()
        """The first comes first."""

    def clear(self) -> None:
        """The backend has lost its seat."""
        for cell in (self.active, self.users, self.queued):
            cell.put(0)
