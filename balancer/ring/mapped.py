"""haproxy's ``hash-type map-based``: a table as long as the sum of the weights, rebuilt whenever a server is lost.

Facts. For each slot haproxy raises every server's score by its weight, gives the slot to the server whose score,
divided by the length of the table and rounded down, is largest (of equals, the first declared), and subtracts that
length from its score. After k slots a score so divided is ``floor(weight * k / length)`` less the slots won, so we keep
those credits in a heap and raise each at the slots where its floor rises: the same table in less time.

A server that is down is not in the table, so nearly every token moves. The k-th candidate of a token comes from the
table without all the earlier candidates. Those tables are built when first needed, and a bounded number is cached. One
takes 25 ms for 500 servers of weight 1, so workers have them built in a thread when servers become unavailable.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import chain, combinations, islice
from math import gcd

from balancer.ring.base import digest, in_proportion
from balancer.ring.hashes import TokenHash
from balancer.ring.table import Table, heirs

_KEPT_SLOTS = 1 << 20
_COMPARED_SLOTS = 1 << 14
"""Slots that ``succession`` builds at most: 50 ms. Beyond that, heirs get what their weights say."""
_PREPARED = 16
"""Maximal number of tables that ``prepare`` builds; at least so many are cached."""


class Maps:
    """Builds and caches the tables without certain members."""

    def __init__(self, units: Mapping[str, int]) -> None:
        self.units = units
        self._kept = lru_cache(maxsize=max(_PREPARED + 1, _KEPT_SLOTS // sum(units.values())))(self._made)

    def __call__(self, lost: frozenset[str]) -> tuple[str, ...]:
        return self._kept(lost)

    def _made(self, lost: frozenset[str]) -> tuple[str, ...]:
        names = [name for name in self.units if name not in lost]
        return tuple(names[index] for index in fill([self.units[name] for name in names]))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Mapped(Table):
    """A map-based table: successors come from the tables without the earlier candidates."""

    without: "Maps"

    def order(self, token: bytes) -> Iterator[str]:
        position = self.position(token)
        met: frozenset[str] = frozenset()
        for _ in self.members:
            slots = self.without(met) if met else self.slots
            name = slots[position % len(slots)]
            met |= {name}
            yield name

    def prepare(self, lost: Collection[str]) -> None:
        """Build the tables that the orders lead to which begin with ``lost`` members, the shortest first."""
        known = [name for name in self.members if name in frozenset(lost)]
        subsets = chain.from_iterable(combinations(known, size) for size in range(1, len(known) + 1))
        for subset in islice(subsets, _PREPARED):
            if len(subset) < len(self.members):
                self.without(frozenset(subset))

    def succession(self) -> dict[str, dict[str, float]]:
        """Return shares by owner and successor: exact ones, unless that took too many slots."""
        size, units = len(self.slots), self.without.units
        found = {}
        for lost in self.members:
            # Without a common divisor, each slot of one table meets every slot of the other equally often.
            if gcd(size, units[lost]) == 1 or size * len(units) > _COMPARED_SLOTS:
                found[lost] = in_proportion(lost, units)
            else:
                held = [slot for slot, name in enumerate(self.slots) if name == lost]
                found[lost] = heirs(held, size, self.without(frozenset({lost})))
        return found


def mapped(hash: TokenHash, weights: Mapping[str, float]) -> Mapped:
    """Build the map of servers in the order of ``weights``, which are rounded to sixteenths."""
    units = {name: max(1, round(16 * weight)) for name, weight in weights.items()}
    divisor = gcd(*units.values())
    units = {name: unit // divisor for name, unit in units.items()}
    without = Maps(units)
    order = "\n".join(f"{name} {unit}" for name, unit in units.items())
    return Mapped(
        members=tuple(weights),
        weights=weights,
        fingerprint=digest([b"mapped", hash.name.encode(), order.encode()]),
        hash=hash,
        slots=without(frozenset()),
        without=without,
    )


def fill(weights: Sequence[int]) -> list[int]:
    """Return the index of the server in each slot of the map."""
    length = sum(weights)
    raised: list[list[int]] = [[] for _ in range(length + 1)]
    for index, weight in enumerate(weights):
        for credit in range(1, weight + 1):
            raised[-(-length * credit // weight)].append(index)
    credits = [0] * len(weights)
    # Outdated entries of the heap are dropped when they reach the top.
    best = [(0, index) for index in range(len(weights))]
    slots = []
    for raises in raised[1:]:
        for index in raises:
            credits[index] += 1
            heappush(best, (-credits[index], index))
        while -best[0][0] != credits[best[0][1]]:
            heappop(best)
        winner = best[0][1]
        slots.append(winner)
        credits[winner] -= 1
        heappush(best, (-credits[winner], winner))
    return slots
