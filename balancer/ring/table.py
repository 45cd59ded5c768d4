"""Rings that are tables: a token belongs to the slot of its hash modulo the size."""

from collections import Counter
from dataclasses import dataclass
from math import gcd

from balancer.ring.base import Ring
from balancer.ring.hashes import TokenHash


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Ring):
    """A ring with one backend in each slot."""

    hash: TokenHash
    slots: tuple[str, ...]

    def position(self, token: bytes) -> int:
        return self.hash.function(token)

    def point(self, token: bytes) -> int:
        return self.hash.function(token) % len(self.slots)

    def owner(self, token: bytes) -> str:
        return self.slots[self.hash.function(token) % len(self.slots)]


def joint(first: tuple[str, ...], second: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """Share of all hashes by their backends in two tables.

    A hash modulo two sizes takes every pair of slots that are equal modulo the greatest common divisor of the sizes,
    each equally often (Chinese remainder theorem), so that counting slots by that remainder is exact.
    """
    common = gcd(len(first), len(second))
    pairs: Counter[tuple[str, str]] = Counter()
    for remainder in range(common):
        ours, theirs = Counter(first[remainder::common]), Counter(second[remainder::common])
        for name, count in ours.items():
            for other, times in theirs.items():
                pairs[name, other] += count * times
    total = len(first) * len(second) // common
    return {pair: count / total for pair, count in pairs.items()}
