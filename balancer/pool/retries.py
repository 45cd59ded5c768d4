"""The budget of retries: how much more a pool is asked because it fails.

Retries help against the loss of one backend and make the loss of all of them worse: each client then asks several times
as often as usual just when nobody has the strength to answer. So a pool may spend a share of its requests on retries,
and somewhat more so that a few failures in a quiet hour do not use it up. The numbers are Finagle's (``RetryBudget``:
20 %, 10 a second, kept for 10 seconds). Each worker has the budget of the requests it sees, which adds up.
"""

from enum import StrEnum

SPARE_RATE = 10.0
"""Retries a second on top of the share."""
MOST = 100.0
"""Retries that can be saved up."""


class Limit(StrEnum):
    """What stands against one more retry."""

    COUNT = "count"
    TIME = "time"
    BUDGET = "budget"


class Retries:
    """Retries of one pool."""

    __slots__ = ("_requests", "_saved", "_since", "given_up", "made")

    def __init__(self) -> None:
        self.made = 0
        self.given_up = dict.fromkeys(Limit, 0)
        """Requests that failed for want of one more retry, by the limit."""
        self._saved = MOST
        self._requests = 0
        self._since = 0.0

    def spend(self, now: float, requests: int, share: float) -> bool:
        """Take one retry out of the budget, if there is one; ``requests`` are all that the pool has had so far."""
        earned = (requests - self._requests) * share + (now - self._since) * SPARE_RATE
        self._requests, self._since = requests, now
        self._saved = min(MOST, self._saved + earned)
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
