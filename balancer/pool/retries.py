"""The budget of retries: how much more a pool is asked because it fails.

Retries help against the loss of one backend and make the loss of all of them worse: each request is then sent several
times, just when the backends are overloaded. So a pool may spend a share of its requests on retries, and a few more, so
that some failures in a quiet hour do not use up the budget. The numbers are Finagle's (``RetryBudget``:
20 %, 10 a second, kept for 10 seconds). Each worker has the budget of the requests it sees, which adds up.
"""

from enum import StrEnum

SPARE_RATE = 10.0
"""Retries a second on top of the share."""
MAX_SAVED = 100.0
"""Maximal number of retries that can be saved up."""


class Limit(StrEnum):
    """What forbids one more retry."""

    COUNT = "count"
    TIME = "time"
    BUDGET = "budget"


class Retries:
    """Retries of one pool."""

    __slots__ = ("_requests", "_saved", "_since", "given_up", "made")

    def __init__(self) -> None:
        self.made = 0
        self.given_up = dict.fromkeys(Limit, 0)
        """Requests that failed because a limit did not allow one more retry, by that limit."""
        self._saved = MAX_SAVED
        self._requests = 0
        self._since = 0.0

    def spend(self, now: float, requests: int, share: float) -> bool:
        """Take one retry out of the budget; return whether there was one. ``requests`` is the number so far."""
        earned = (requests - self._requests) * share + (now - self._since) * SPARE_RATE
        self._requests, self._since = requests, now
        self._saved = min(MAX_SAVED, self._saved + earned)
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
