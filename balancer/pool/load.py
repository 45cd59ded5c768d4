"""What a backend carries in all workers together, if a limit or a bound needs it."""

from collections import deque
from typing import Generic, TypeVar

from balancer.shared.counters import Kind, SharedCounters

W = TypeVar("W")


class BackendLoad(Generic[W]):
    """The shared counters of one backend, its limit, and the queue of those that wait in this worker."""

    __slots__ = ("active", "limit", "queued", "slot", "users", "waiting")

    def __init__(self, shared_counters: SharedCounters, slot: int, limit: int) -> None:
        self.slot = slot
        self.limit = limit
        """Requests in flight and tunnels at most; 0 is no limit."""
        self.active = shared_counters.cell(Kind.ACTIVE, slot)
        self.users = shared_counters.cell(Kind.USERS, slot)
        self.queued = shared_counters.cell(Kind.QUEUED, slot)
        self.waiting: deque[W] = deque()
        """The queue, in the order of arrival."""

    def clear(self) -> None:
        """Clear the cells, as the backend has lost its slot."""
        for cell in (self.active, self.users, self.queued):
            cell.put(0)
