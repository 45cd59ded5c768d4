"""What real traffic says of a backend: how many answers, how many failures, and of how many clients.

The data plane counts into the tally of a backend; whoever judges takes it away now and then and leaves an empty one.
Tallies of several processes add up. Clients stand in it as digests, for counting only.

Some facts. Nobody can know how many clients will fail, so only some are counted, by "space-saving" (Metwally et al.,
"Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005): where there is no more room, the one with
the fewest failures makes room and leaves its number to the new one. So whoever fails most is always among them, with
too many rather than too few, and the numbers add up to the whole.
"""

from collections.abc import Iterable
from heapq import nlargest

from msgspec import Struct

KEPT = 64
"""Addresses, and tokens, that are told apart."""


class Tally(Struct):
    """Outcomes of one backend since they were last taken."""

    answers: int = 0
    """Requests that were answered, and TCP connections that brought something."""
    failures: int = 0
    addresses: dict[str, int] = {}
    """Failures by the digest of the client's address."""
    tokens: dict[str, int] = {}
    """Failures by the digest of the user's token."""

    def fail(self, address: str, token: str) -> None:
        """One more failure, of this client."""
        self.failures += 1
        _count(self.addresses, [(address, 1)])
        _count(self.tokens, [(token, 1)])

    def add(self, other: "Tally") -> None:
        """Add what another process, or a later time, has counted."""
        self.answers += other.answers
        self.failures += other.failures
        _count(self.addresses, other.addresses.items())
        _count(self.tokens, other.tokens.items())

    def failures_beyond(self, clients: int) -> int:
        """Failures without those of the so many addresses, or tokens, that have the most."""
        return self.failures - max(sum(nlargest(clients, seen.values())) for seen in (self.addresses, self.tokens))


def _count(seen: dict[str, int], news: Iterable[tuple[str, int]]) -> None:
    for who, times in news:
        if who in seen or len(seen) < KEPT:
            seen[who] = seen.get(who, 0) + times
        else:
            least = min(seen, key=seen.__getitem__)
            seen[who] = seen.pop(least) + times
