"""What a backend carries in all workers together, where a limit or a bound asks for it."""

from collections import deque
from typing import Generic, TypeVar

from balancer.shared.counters import Kind, SharedCounters

W = TypeVar("W")


class BackendLoad(Generic[W]):
    """The cells of one backend on the board, its limit, and who waits in this worker for a place below it."""

    __slots__ = ("active", "limit", "queued", "seat", "users", "waiting")

    def __init__(self, board: SharedCounters, seat: int, limit: int) -> None:
        self.seat = seat
        self.limit = limit
        """Requests in flight and tunnels at most; 0 is no limit."""
        self.active = board.cell(Kind.ACTIVE, seat)
        self.users = board.cell(Kind.USERS, seat)
        self.queued = board.cell(Kind.QUEUED, seat)
        self.waiting: deque[W] = deque()
        """The first comes first."""

    def clear(self) -> None:
        """The backend has lost its seat."""
        for cell in (self.active, self.users, self.queued):
            cell.put(0)
