"""Unix time for pins, ramps and drains, which last as long as they were meant to, whatever becomes of the clock.

Some facts. The system's clock may be set forward or back at any time, by an operator or by NTP at the start of a
machine, while CLOCK_MONOTONIC only ever goes on (clock_gettime(2)). People think in Unix time, and it is what outlives
a restart; so times are kept in it. But a step of the clock must neither end a ramp nor run one again. So this clock
goes on as before until ``take_step`` returns how far the system's clock has jumped; the caller then moves all stored
times by as much.
"""

import time
from collections.abc import Callable

import trio

SMALLEST_STEP = 1.0
"""Seconds by which the system's clock may differ before that counts as a step; slewing is slower than that."""


class Clock:
    """Tells Unix time; ``wall`` is the system's clock."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._offset = wall() - trio.current_time()

    def __call__(self) -> float:
        return trio.current_time() + self._offset

    def take_step(self) -> float:
        """Go by the system's clock from now on; return by how much it has jumped, 0 for not at all."""
        step = self._wall() - self()
        if abs(step) < SMALLEST_STEP:
            return 0.0
        self._offset += step
        return step
