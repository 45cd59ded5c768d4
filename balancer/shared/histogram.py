"""Durations counted in buckets, cheap enough for every request: plain integers that can be added up over processes."""

from bisect import bisect_left
from itertools import accumulate
from typing import Any


class Histogram:
    """How often something took how long: ``bounds`` are the longest times of each bucket but the last, in seconds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, not summed up."""
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """It took so long once more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def plain(self) -> dict[str, Any]:
        """``buckets`` by their bounds, each with all that took no longer, and the ``sum`` of all times."""
        bounds = [*map(str, self.bounds), "+Inf"]
        return {"buckets": dict(zip(bounds, accumulate(self.counts), strict=True)), "sum": self.sum}
