"""Counters in memory that all worker processes share, for limits that hold over all of them.

Facts, and what follows from them:

- The memory is handed over as a ``memoryview``; its creator clears it and calls ``prepare`` once. Its size is fixed:
  one row per worker, with the same cells in each.
- Python has neither locks across processes nor atomic additions. So a worker writes only its own row, always the whole
  number (never "one more"), and a total is the sum over the rows. Nothing gets lost and nothing drifts: a worker that
  starts, perhaps in place of one that was killed, clears its row and with it all that the dead one held; the supervisor
  does so when a worker ends.
- A sum of rows that others are writing may be a moment old. Code that must not exceed a limit counts itself first, then
  looks at the total, and takes itself back if that is too much: two that come at the same moment may both be turned
  away, but never both get the last place.
- Clients are too many for a cell each: see ``balancer.shared.sketch`` and ``balancer.shared.buckets``.

Cost: a total of four rows takes 0.1 µs, of 64 rows 0.7 µs. Make as many rows as there will be workers.
"""

from collections.abc import Collection
from enum import IntEnum
from hashlib import blake2b
from operator import itemgetter
from typing import Final

from balancer.shared.buckets import Metered, TokenBuckets
from balancer.shared.sketch import HASHED, ConnectionSketch, SketchCells

LAYOUT: Final = 1
"""Counts changes of where things are in the memory: workers of two versions share it only if theirs is the same."""
KEY_BYTES: Final = 32
CAPACITY: Final = 8192
"""Cells of each kind."""


class Kind(IntEnum):
    """What a cell counts. The index says of what: 0 is the whole process, else a listener's or a backend's slot."""

    CONNECTIONS = 0
    HANDSHAKES = 1
    MEMORY = 2
    LISTENER = 3
    ACTIVE = 4
    USERS = 5
    QUEUED = 6


_NUMBERS: Final = len(Kind) * CAPACITY
_ROW_BYTES: Final = _NUMBERS * 8 + 2 * HASHED * 4
_BUCKET_BYTES: Final = len(Metered) * 2 * HASHED * 8


def size(rows: int) -> int:
    """Return the bytes of memory for so many workers. Pages that are never written to take no memory."""
    return KEY_BYTES + _BUCKET_BYTES + rows * _ROW_BYTES


def prepare(view: memoryview, key: bytes) -> None:
    """Initialise cleared memory; ``key`` is 32 random bytes."""
    view[:KEY_BYTES] = key


def clear(view: memoryview, row: int) -> None:
    """Clear the row of a worker that has ended, or that begins."""
    rows = (len(view) - size(0)) // _ROW_BYTES
    numbers, sketch = _NUMBERS * 8, 2 * HASHED * 4
    for start, length in ((size(0), numbers), (size(0) + rows * numbers, sketch)):
        view[start + row * length : start + (row + 1) * length] = bytes(length)


class Cell:
    """One number of this worker, and the total over all of them."""

    __slots__ = ("_all", "_mine")

    def __init__(self, mine: memoryview, every: memoryview) -> None:
        self._mine = mine
        self._all = every

    def put(self, number: int) -> None:
        """Set this worker's number."""
        self._mine[0] = number

    def total(self) -> int:
        """Return the sum over all workers."""
        return sum(self._all)


class CellGroup:
    """Cells of one kind, added up over all workers together: 1,000 of them take 20 µs for each worker."""

    __slots__ = ("_getters", "_numbers")

    def __init__(self, numbers: "memoryview[int]", positions: list[list[int]]) -> None:
        """``positions`` are those of the cells of each worker."""
        self._numbers = numbers
        # With a single position there would be no tuple, so the first comes again and is dropped.
        self._getters = [itemgetter(*row, *row[:1]) for row in positions if row]

    def total(self) -> int:
        """Return the sum over the cells and all workers."""
        numbers = self._numbers
        return sum([sum(get(numbers)[:-1]) for get in self._getters])


class SharedCounters:
    """The counters as one worker sees them: it writes to its own ``row`` and reads all."""

    def __init__(self, view: memoryview, row: int) -> None:
        """Use the memory of ``view``; clear the row."""
        rows, rest = divmod(len(view) - size(0), _ROW_BYTES)
        assert not rest, "not the size of shared counters"
        assert 0 <= row < rows, f"no row {row} among {rows}"
        self._key = bytes(view[:KEY_BYTES])
        start = size(0)
        self._buckets = view[KEY_BYTES:start].cast("d")
        numbers = view[start : start + rows * _NUMBERS * 8]
        sketches = view[start + rows * _NUMBERS * 8 :]
        self._numbers = numbers.cast("q")
        self._first = row * _NUMBERS
        sketch = 2 * HASHED * 4
        self.sketch = ConnectionSketch([sketches[n * sketch : (n + 1) * sketch].cast("I") for n in range(rows)], row)
        """Connections of each client address."""
        clear(view, row)

    def cell(self, kind: Kind, index: int = 0) -> Cell:
        """Return the cell of a kind; ``index`` is the same for the same thing in every worker."""
        assert 0 <= index < CAPACITY
        at = kind * CAPACITY + index
        return Cell(self._numbers[self._first + at : self._first + at + 1], self._numbers[at::_NUMBERS])

    def group(self, kind: Kind, indexes: Collection[int]) -> CellGroup:
        """Return the cells of a kind with these indexes, to be added up."""
        numbers = self._numbers
        rows = range(kind * CAPACITY, len(numbers), _NUMBERS)
        return CellGroup(numbers, [[row + index for index in indexes] for row in rows])

    def buckets(self, of: Metered) -> TokenBuckets:
        """Return the token buckets of all clients, or of all tokens."""
        return TokenBuckets(self._buckets[of * 2 * HASHED : (of + 1) * 2 * HASHED])

    def sketch_cells(self, key: bytes) -> SketchCells:
        """Return the cells of ``key``, a client or a token, in sketches and buckets."""
        number = int.from_bytes(blake2b(key, digest_size=4, key=self._key).digest(), "little")
        return number % HASHED, HASHED + (number >> 16)
