"""Token buckets in shared memory, one for each client address or user token.

They take the form of the generic cell rate algorithm (ITU-T I.371): one number, the time at which the bucket will be
full again. All rows share these cells, so a write may be lost when two workers write at the same moment: then one
client gets one connection too many. Eight aligned bytes are written at once, so nobody reads half a number. Times must
come from a clock that all processes share (CLOCK_MONOTONIC).
"""

from enum import IntEnum

from balancer.shared.sketch import SketchCells


class Metered(IntEnum):
    """Whose new connections a set of buckets limits."""

    CLIENTS = 0
    TOKENS = 1


class TokenBuckets:
    """Token buckets, one for each client or token; shared by all workers."""

    __slots__ = ("_cells",)

    def __init__(self, cells: "memoryview[float]") -> None:
        self._cells = cells

    def take(self, places: SketchCells, now: float, rate: float, burst: int) -> float:
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
