"""How many connections each client has, over all workers: a count-min sketch in shared memory.

Cormode and Muthukrishnan, 2005: each client has two cells, found by a keyed hash, and the smaller one counts. A client
is charged with connections of others only if it shares both cells: with 20,000 clients, about one in fourteen is
counted one or two too high. The key is random and never leaves shared memory, so that another client's cells cannot be
aimed at from outside.
"""

HASHED = 1 << 16
"""Cells of each of the two rows of a sketch or of buckets."""

SketchCells = tuple[int, int]
"""The two cells of a client or token in a sketch, or in a set of buckets."""


class ConnectionSketch:
    """How many connections each client has, over all workers."""

    __slots__ = ("_mine", "_rows")

    def __init__(self, rows: list[memoryview], row: int) -> None:
        self._rows = rows
        self._mine = rows[row]

    def enter(self, cells: SketchCells) -> None:
        """Count one more."""
        for cell in cells:
            self._mine[cell] += 1

    def leave(self, cells: SketchCells) -> None:
        """Count one less."""
        for cell in cells:
            self._mine[cell] -= 1

    def count(self, cells: SketchCells) -> int:
        """Return how many there are: never too few, seldom too many."""
        first, second = cells
        return min(sum([row[first] for row in self._rows]), sum([row[second] for row in self._rows]))
