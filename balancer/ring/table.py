"""Rings that are tables: a token belongs to the slot of its hash modulo the size."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from balancer.ring.base import Ring


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Table(Ring):
    """A ring that is a table of backends, one in each slot."""

    slots: tuple[str, ...]

    def position(self, token: bytes) -> int:
        return self.hash.function(token)

    def point(self, token: bytes) -> int:
        return self.hash.function(token) % len(self.slots)

    def owner(self, token: bytes) -> str:
        return self.slots[self.hash.function(token) % len(self.slots)]

    def point_counts(self) -> dict[str, int]:
        return dict(Counter(self.slots))


def joint(first: tuple[str, ...], second: tuple[str, ...]) -> dict[tuple[str, str], float]:
    """Return the exact share of all hashes by (backend in the first table, backend in the second)."""
    held: dict[str, list[int]] = {}
    for slot, name in enumerate(first):
        held.setdefault(name, []).append(slot)
    return {
        (name, other): share
        for name, slots in held.items()
        for other, share in heirs(slots, len(first), second).items()
    }


def heirs(slots: Sequence[int], size: int, table: tuple[str, ...]) -> dict[str, float]:
    """Return which backends of ``table`` own the hashes in ``slots`` of another table, as shares of all hashes.

    The other table has ``size`` slots. A hash modulo two sizes takes every pair of slots that are equal modulo the
    greatest common divisor of the sizes, each equally often (Chinese remainder theorem), so counting slots by that
    remainder is exact.
    """
    common = gcd(size, len(table))
    pairs: Counter[str] = Counter()
    for remainder, count in Counter(slot % common for slot in slots).items():
        for name, times in Counter(table[remainder::common]).items():
            pairs[name] += count * times
    total = size * len(table) // common
    return {name: count / total for name, count in pairs.items()}
