"""Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4).

Every backend has a permutation of the table's slots and, in turns by name, takes its next free slot. The paper does not
define weights; here a backend of half the largest weight has a turn in every second round, and all have one in the
first, so that none is left out. A change moves slightly more tokens than necessary, about half a percent of all: the
price of shares that are equal up to a slot.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, repeat
from math import isqrt

from balancer.ring.base import digest
from balancer.ring.circle import added, distinct, others_after
from balancer.ring.hashes import TokenHash
from balancer.ring.table import Table


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Maglev(Table):
    """A Maglev table: successors are found by walking the slots upwards."""

    def order(self, token: bytes) -> Iterator[str]:
        return distinct(self.slots, self.point(token), self.members)

    def succession(self) -> dict[str, dict[str, float]]:
        size = len(self.slots)
        return added(self.members, self.slots, others_after(self.slots), repeat(1 / size, size))


def maglev(hash: TokenHash, weights: Mapping[str, float], size: int) -> Maglev:
    """Build a table of ``size`` slots. Raises ``ValueError`` if that is not a prime above the number of backends."""
    if size < 3 or any(size % factor == 0 for factor in range(2, isqrt(size) + 1)):
        raise ValueError(f"the number of slots must be a prime, such as 65537, not {size}")
    if size <= len(weights):
        raise ValueError(f"a table of {size} slots is too small for {len(weights)} backends")
    slots = tuple(_fill(hash, weights, size))
    return Maglev(
        members=tuple(weights),
        weights=weights,
        fingerprint=digest([b"maglev", hash.name.encode(), "\n".join(slots).encode()]),
        hash=hash,
        slots=slots,
    )


def _fill(hash: TokenHash, weights: Mapping[str, float], size: int) -> list[str]:
    slots = [""] * size
    turns = islice(_turns(weights), size)
    starts = {name: hash.function(f"{name} offset".encode()) % size for name in weights}
    steps = {name: hash.function(f"{name} skip".encode()) % (size - 1) + 1 for name in weights}
    for name in turns:
        slot, step = starts[name], steps[name]
        while slots[slot]:
            slot += step
            if slot >= size:
                slot -= size
        slots[slot] = name
        starts[name] = slot
    return slots


def _turns(weights: Mapping[str, float]) -> Iterator[str]:
    """Yield names in turns, endlessly, each in proportion to its weight."""
    largest = max(weights.values())
    credits = dict.fromkeys(sorted(weights), 1.0)
    while True:
        for name, credit in credits.items():
            turn = credit >= 1
            if turn:
                yield name
            credits[name] = credit - turn + weights[name] / largest
