"""Outcomes of real traffic at a backend: how many answers, how many failures, and of which clients.

The data plane counts into the tally of a backend; for each report it is replaced by an empty one. Tallies of several
processes can be added up. Clients appear in it as digests, to be counted only.

Some facts. There may be any number of clients with failures, so only some are kept, by "space-saving" (Metwally et al.,
"Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005): if there is no more room, the one with
the fewest failures makes room and leaves its number to the new one. So those with the most failures are always among
them, their numbers are never too low, and all numbers add up to the total.
"""

from collections.abc import Iterable
from heapq import nlargest

from msgspec import Struct

KEPT = 64
"""Numbers of addresses and of tokens that are kept, at most."""


class Tally(Struct):
    """Outcomes of one backend since they were last taken."""

    answers: int = 0
    """Requests that were answered, and TCP connections on which the backend sent something."""
    failures: int = 0
    addresses: dict[str, int] = {}
    """Failures by the digest of the client's address."""
    tokens: dict[str, int] = {}
    """Failures by the digest of the user's token."""

    def fail(self, address: str, token: str) -> None:
        """Count one failure of this client."""
        self.failures += 1
        _count(self.addresses, [(address, 1)])
        _count(self.tokens, [(token, 1)])

    def add(self, other: "Tally") -> None:
        """Add what was counted by another process, or later."""
        self.answers += other.answers
        self.failures += other.failures
        _count(self.addresses, other.addresses.items())
        _count(self.tokens, other.tokens.items())

    def failures_beyond(self, clients: int) -> int:
        """Return the failures without those of the addresses, or tokens, that have the most: as many as ``clients``."""
        return self.failures - max(sum(nlargest(clients, seen.values())) for seen in (self.addresses, self.tokens))


def _count(seen: dict[str, int], news: Iterable[tuple[str, int]]) -> None:
    for who, times in news:
        if who in seen or len(seen) < KEPT:
            seen[who] = seen.get(who, 0) + times
        else:
            least = min(seen, key=seen.__getitem__)
            seen[who] = seen.pop(least) + times
