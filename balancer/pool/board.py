"""The board: numbers that every worker process sees, for the limits that hold for all of them together.

Facts, and what follows from them:

- It lies in memory shared by the workers, handed over as a ``memoryview``; whoever makes it clears it and calls
  ``prepare`` once. Its size never changes: so many rows, one per worker, and the same cells in each.
- There are no locks and no atomic additions in Python. So a worker writes only its own row, always the whole number
  (never "one more"), and a total is the sum over the rows. Nothing can be lost, and nothing drifts: a worker that
  starts, maybe in the place of one that was killed, clears its row, and with it all that the dead one held; so does
  whoever sees a worker end.
- A sum of rows that others write meanwhile may be older than a moment. Whoever must not exceed a limit counts itself
  first, looks at the total, and takes itself back if that is too much: two that come at once may both be turned away,
  but never both get the last place.
- Clients are too many for a cell each. ``Crowd`` counts them in a count-min sketch (Cormode and Muthukrishnan, 2005):
  two cells each, found by a keyed hash, of which the smaller counts. A stranger is blamed for others only if both its
  cells are shared: with 20,000 clients about one in fourteen is counted one or two too high. The key is random and
  lies on the board, so nobody outside can aim at somebody else's cells.
- ``Buckets`` are token buckets in the form of the generic cell rate algorithm (ITU-T I.371): one number, the time at
  which the bucket will be full again. These cells are shared by all rows, and a write may be lost when two workers
  write at the same moment: then one client gets one connection more than it should. Eight aligned bytes are written at
  once, so nobody reads half of a number. Times must be of a clock that all processes share (CLOCK_MONOTONIC).

Cost: a total of four rows takes 0.1 µs, of 64 rows 0.7 µs. Make as many rows as there will be workers.
"""

from collections.abc import Iterable
from enum import IntEnum
from hashlib import blake2b

from balancer.errors import Refused

KEY_BYTES = 32
CAPACITY = 8192
"""Cells of each kind."""
HASHED = 1 << 16
"""Cells of each of the two rows of a sketch or of buckets."""


class Kind(IntEnum):
    """What a cell counts; the index says of whom: 0 for the whole process, a listener's number, a backend's seat."""

    CONNECTIONS = 0
    HANDSHAKES = 1
    MEMORY = 2
    LISTENER = 3
    ACTIVE = 4
    USERS = 5
    QUEUED = 6


class Metered(IntEnum):
    """Whose new connections a set of buckets limits."""

    CLIENTS = 0
    TOKENS = 1


_NUMBERS = len(Kind) * CAPACITY
_ROW_BYTES = _NUMBERS * 8 + 2 * HASHED * 4
_BUCKET_BYTES = len(Metered) * 2 * HASHED * 8

Places = tuple[int, int]
"""Where a client or token stands in a sketch or among buckets."""


def size(rows: int) -> int:
    """Bytes of a board for so many workers. Pages that nobody writes to take no memory."""
    return KEY_BYTES + _BUCKET_BYTES + rows * _ROW_BYTES


def prepare(view: memoryview, key: bytes) -> None:
    """Make a board of cleared memory; ``key`` is random, 32 bytes."""
    view[:KEY_BYTES] = key


def clear(view: memoryview, row: int) -> None:
    """Nothing is held by the worker of this row: it has ended, or it begins."""
    rows = (len(view) - size(0)) // _ROW_BYTES
    numbers, crowd = _NUMBERS * 8, 2 * HASHED * 4
    for start, length in ((size(0), numbers), (size(0) + rows * numbers, crowd)):
        view[start + row * length : start + (row + 1) * length] = bytes(length)


class Cell:
    """One number of this worker, and the total over all of them."""

    __slots__ = ("_all", "_mine")

    def __init__(self, mine: memoryview, every: memoryview) -> None:
        self._mine = mine
        self._all = every

    def put(self, number: int) -> None:
        """This worker's number is this from now on."""
        self._mine[0] = number

    def total(self) -> int:
        """The sum over all workers."""
        return sum(self._all)


class Crowd:
    """How many of something each client has, over all workers; never less than the truth, seldom more."""

    __slots__ = ("_mine", "_rows")

    def __init__(self, rows: list[memoryview], row: int) -> None:
        self._rows = rows
        self._mine = rows[row]

    def enter(self, places: Places) -> None:
        """One more."""
        for place in places:
            self._mine[place] += 1

    def leave(self, places: Places) -> None:
        """One less."""
        for place in places:
            self._mine[place] -= 1

    def count(self, places: Places) -> int:
        """How many there are."""
        first, second = places
        return min(sum([row[first] for row in self._rows]), sum([row[second] for row in self._rows]))


class Buckets:
    """Token buckets, one for each client or token; shared by all workers."""

    __slots__ = ("_cells",)

    def __init__(self, cells: "memoryview[float]") -> None:
        self._cells = cells

    def take(self, places: Places, now: float, rate: float, burst: int) -> float:
        """Take one of ``burst`` that come back at ``rate`` a second: 0, or the seconds until there will be one."""
        cells = self._cells
        first, second = places
        full_at = max(now, min(cells[first], cells[second]))
        wait = full_at - now - (burst - 1) / rate
        if wait > 1e-9:
            return wait
        full_at += 1 / rate
        for place in places:  # a cell that others have filled further stays theirs
            if cells[place] < full_at:
                cells[place] = full_at
        return 0.0


class Board:
    """The board as one worker has it: ``row`` is its own."""

    def __init__(self, view: memoryview, row: int) -> None:
        """Clears the row."""
        rows, rest = divmod(len(view) - size(0), _ROW_BYTES)
        assert not rest, "not the size of a board"
        assert 0 <= row < rows, f"no row {row} among {rows}"
        self._key = bytes(view[:KEY_BYTES])
        self._buckets = view[KEY_BYTES : size(0)].cast("d")
        numbers = view[size(0) : size(0) + rows * _NUMBERS * 8]
        crowds = view[size(0) + rows * _NUMBERS * 8 :]
        self._numbers = numbers.cast("q")
        self._first = row * _NUMBERS
        crowd = 2 * HASHED * 4
        self.crowd = Crowd([crowds[n * crowd : (n + 1) * crowd].cast("I") for n in range(rows)], row)
        """Connections of each client address."""
        clear(view, row)

    def cell(self, kind: Kind, index: int = 0) -> Cell:
        """The cell of a kind; ``index`` is the same for the same thing in every worker."""
        assert 0 <= index < CAPACITY
        at = kind * CAPACITY + index
        return Cell(self._numbers[self._first + at : self._first + at + 1], self._numbers[at::_NUMBERS])

    def buckets(self, of: Metered) -> Buckets:
        """The token buckets of all clients, or of all tokens."""
        return Buckets(self._buckets[of * 2 * HASHED : (of + 1) * 2 * HASHED])

    def places(self, who: bytes) -> Places:
        """Where ``who`` stands in sketches and among buckets."""
        number = int.from_bytes(blake2b(who, digest_size=4, key=self._key).digest(), "little")
        return number % HASHED, HASHED + (number >> 16)


class Seats:
    """Gives each backend the index of its cells, and keeps it while the backend is there.

    Whoever configures the workers has one. A number that became free is given out last, so that a worker which has not
    heard of it yet does not count for somebody else.
    """

    def __init__(self) -> None:
        self._seats: dict[tuple[str, str], int] = {}
        self._next = 0

    def assign(self, pool: str, backends: Iterable[str]) -> dict[str, int]:
        """The seat of every backend of the pool; those that are not named any more lose theirs."""
        names = dict.fromkeys(backends)
        for key in [key for key in self._seats if key[0] == pool and key[1] not in names]:
            del self._seats[key]
        taken = set(self._seats.values())
        for name in names:
            if (pool, name) not in self._seats:
                if len(taken) == CAPACITY:
                    raise Refused(f"more than {CAPACITY} backends")
                while self._next in taken:
                    self._next = (self._next + 1) % CAPACITY
                self._seats[pool, name] = self._next
                taken.add(self._next)
                self._next = (self._next + 1) % CAPACITY
        return {name: self._seats[pool, name] for name in names}
