"""Token buckets in shared memory, one for each client address or user token.

They take the form of the generic cell rate algorithm (ITU-T I.371): one number, the time at which the bucket will be
full again. All rows share these cells, so a write may be lost when two workers write at the same moment: then one
client gets one connection too many. Eight aligned bytes are written at once, so half a number is never read. Times must
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

    def take(self, cells: SketchCells, now: float, rate: float, burst: int) -> float:
        """Take one of ``burst`` tokens that come back at ``rate`` a second.

        Return 0, or the seconds until there will be one.
        """
        full_times = self._cells
        first, second = cells
        full_at = max(now, min(full_times[first], full_times[second]))
        wait = full_at - now - (burst - 1) / rate
        if wait > 1e-9:
            return wait
        full_at += 1 / rate
        for cell in cells:  # one that has been moved further for another client stays as it is
            if full_times[cell] < full_at:
                full_times[cell] = full_at
        return 0.0
