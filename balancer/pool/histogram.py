"""Durations counted in buckets, cheap enough for every request: plain integers that can be added up over processes."""

from bisect import bisect_left
from itertools import accumulate
from typing import Any

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; a page is served in milliseconds, and ``timeouts.response`` is a minute."""


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


class Traffic:
    """The requests of a pool by the class of their answers, and how long they took."""

    __slots__ = ("answers", "seconds")

    def __init__(self) -> None:
        self.answers = [0] * 10
        """By the first digit of the status; 0 is for those that ended without an answer."""
        self.seconds = Histogram(REQUEST_BOUNDS)
        """From the first byte of the request to the last of the answer, or to the 101 of a tunnel."""

    def note(self, status: int, seconds: float) -> None:
        """One more was answered."""
        self.answers[status // 100] += 1
        self.seconds.note(seconds)

    def by_class(self) -> dict[str, int]:
        """``1xx`` to ``5xx`` and ``none``, and others if there were any."""
        found = {f"{digit}xx": self.answers[digit] for digit in range(1, 10) if digit < 6 or self.answers[digit]}
        return {**found, "none": self.answers[0]}
