"""The memories of shared counters: one for as many workers as have rows in it, and a further one when that is full.

A worker's number says where its row is. Limits hold for the workers of one memory together: while an upgrade keeps
workers on two, because one has no rows left or its layout is another version's, clients may use twice as much.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass

from balancer.config.scalars import MAX_WORKERS
from balancer.shared.counters import KEY_BYTES, LAYOUT, clear, prepare, size
from balancer.upgrade.state import BoardState


@dataclass(frozen=True)
class _Board:
    fd: int
    layout: int
    view: memoryview


class Boards:
    """Memories by the number of the first worker in each. Raises ``OSError`` where there is no memory."""

    def __init__(self, adopted: Sequence[BoardState] = ()) -> None:
        self._boards = {each.first: _Board(each.fd, each.layout, memoryview(mmap.mmap(each.fd, 0))) for each in adopted}
        self._taken: set[int] = set()

    def claim(self, count: int) -> list[int]:
        """Return numbers for so many new workers, all in one memory."""
        for first, board in self._boards.items():
            free = [number for number in range(first, first + MAX_WORKERS) if number not in self._taken]
            if board.layout == LAYOUT and len(free) >= count:
                self._taken.update(free[:count])
                return free[:count]
        first = next(first for first in range(0, 1 << 30, MAX_WORKERS) if first not in self._boards)
        fd = os.memfd_create("balancer-board")
        os.ftruncate(fd, size(MAX_WORKERS))
        view = memoryview(mmap.mmap(fd, size(MAX_WORKERS)))
        prepare(view, os.urandom(KEY_BYTES))
        self._boards[first] = _Board(fd, LAYOUT, view)
        return self.claim(count)

    def keep(self, number: int) -> None:
        """Note that a worker that was adopted has this number."""
        self._taken.add(number)

    def place(self, number: int) -> tuple[int, int]:
        """Return the descriptor of a worker's memory, and its row there."""
        first = number - number % MAX_WORKERS
        return self._boards[first].fd, number - first

    def clear(self, number: int) -> None:
        """Clear the row of a worker that has ended. That of another layout is cleared by nobody: it counts no more."""
        first = number - number % MAX_WORKERS
        if self._boards[first].layout == LAYOUT:
            clear(self._boards[first].view, number - first)

    def release(self, number: int) -> None:
        """Note that a worker is gone for good; a memory that nobody uses any more is closed, but for one."""
        self._taken.discard(number)
        for first, board in list(self._boards.items()):
            used = any(first <= each < first + MAX_WORKERS for each in self._taken)
            if not used and (board.layout != LAYOUT or len(self._boards) > 1):
                os.close(board.fd)
                del self._boards[first]

    def states(self) -> list[BoardState]:
        """Return what the next version has to know."""
        return [BoardState(board.fd, board.layout, first) for first, board in self._boards.items()]

    def close(self) -> None:
        """Close all."""
        for board in self._boards.values():
            os.close(board.fd)
        self._boards.clear()
