"""How many connections each client has, over all workers: a count-min sketch in shared memory.

Cormode and Muthukrishnan, 2005: each client has two cells, found by a keyed hash, and the smaller one counts. A client
is blamed for others only if it shares both cells: with 20,000 clients about one in fourteen is counted one or two too
high. The key is random and stays in shared memory, so nobody outside can aim at another client's cells.
"""

HASHED = 1 << 16
"""Cells of each of the two rows of a sketch or of buckets."""

SketchCells = tuple[int, int]
"""Where a client or token stands in a sketch or among buckets."""


class ConnectionSketch:
    """How many of something each client has, over all workers; never less than the truth, seldom more."""

    __slots__ = ("_mine", "_rows")

    def __init__(self, rows: list[memoryview], row: int) -> None:
        self._rows = rows
        self._mine = rows[row]

    def enter(self, places: SketchCells) -> None:
        """One more."""
        for place in places:
            self._mine[place] += 1

    def leave(self, places: SketchCells) -> None:
        """One less."""
        for place in places:
            self._mine[place] -= 1

    def count(self, places: SketchCells) -> int:
        """How many there are."""
        first, second = places
        return min(sum([row[first] for row in self._rows]), sum([row[second] for row in self._rows]))
