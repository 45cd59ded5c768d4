"""Durations counted in buckets, cheap enough for every request: plain integers that can be added up over processes."""

from itertools import accumulate
from typing import Any


class Histogram:
    """Counts of durations; ``bounds`` are the upper bounds of all buckets but the last, in seconds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, not cumulative."""
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration."""
        bucket = 0
        for bound in self.bounds:  # most durations are short; a bisection costs three times as much
            if seconds <= bound:
                break
            bucket += 1
        self.counts[bucket] += 1
        self.sum += seconds

    def plain(self) -> dict[str, Any]:
        """Return the cumulative ``buckets`` by their bounds, and the ``sum`` of all durations."""
        bounds = [*map(str, self.bounds), "+Inf"]
        return {"buckets": dict(zip(bounds, accumulate(self.counts), strict=True)), "sum": self.sum}
