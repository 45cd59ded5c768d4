"""A circle of points: a token belongs to the backend whose arc contains its hash, and arcs end at points.

Facts. libketama and nginx give a hash that equals a point to that point; uhashring gives it to the next one, so that
its arcs end one position before their points. After the last arc comes the first again. A circle of n arcs is stored as
an array of n ends, searched by bisection, and n + 1 names, of which the last repeats the first: a hash beyond the last
end then needs no special case.
"""

import sys
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import mul, sub
from typing import Self

from balancer.ring.base import Ring, digest
from balancer.ring.hashes import TokenHash


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Circle(Ring):
    """A ring of arcs, each owned by one backend."""

    ends: "array[int]"
    """Last position of each arc, ascending; positions beyond the last end belong to the first arc."""
    names: tuple[str, ...]
    """Owner of each arc, followed by the first owner again."""

    @classmethod
    def build(cls, hash: TokenHash, arcs: Mapping[int, str], weights: Mapping[str, float]) -> Self:
        """Build a circle of ``arcs``, which map the end of each arc to its owner."""
        ends = array("Q", sorted(arcs))
        names = tuple(map(arcs.__getitem__, ends))
        return cls(
            members=tuple(weights),
            weights=weights,
            fingerprint=digest([cls.__name__.encode(), hash.name.encode(), *canonical(ends, names)]),
            hash=hash,
            ends=ends,
            names=(*names, names[0]),
        )

    def position(self, token: bytes) -> int:
        return self.hash.function(token)

    def point(self, token: bytes) -> int:
        return self.ends[bisect_left(self.ends, self.position(token)) % len(self.ends)]

    def owner(self, token: bytes) -> str:
        return self.names[bisect_left(self.ends, self.hash.function(token))]

    def order(self, token: bytes) -> Iterator[str]:
        return distinct(self.names, bisect_left(self.ends, self.hash.function(token)), self.members)

    def point_counts(self) -> dict[str, int]:
        return dict(Counter(self.names[:-1]))

    def succession(self) -> dict[str, dict[str, float]]:
        owners = self.names[:-1]
        size = 1 << self.hash.bits
        ends = [*map(float, self.ends)]
        starts = [ends[-1] - size, *ends[:-1]]  # the first arc begins before zero
        shares = map(mul, map(sub, ends, starts), repeat(1 / size))
        return added(self.members, owners, others_after(owners), shares)


def canonical(numbers: "array[int]", names: Iterable[str]) -> tuple[bytes, bytes]:
    """Return points and owners as bytes that do not depend on the machine's byte order, for a fingerprint."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes(), "\n".join(names).encode()


def distinct(names: Sequence[str], start: int, members: Sequence[str]) -> Iterator[str]:
    """Yield each of ``members`` once, in the order of ``names`` from ``start`` on and around the circle."""
    yield names[start]
    seen = {names[start]}
    for index in chain(range(start + 1, len(names)), range(start)):
        if len(seen) == len(members):
            return
        if (name := names[index]) not in seen:
            seen.add(name)
            yield name
    # A backend without points, because others have the same ones (possible with 32 bits), comes last.
    yield from (name for name in members if name not in seen)


def added(
    members: Iterable[str], owners: Iterable[str], successors: Iterable[str], shares: Iterable[float]
) -> dict[str, dict[str, float]]:
    """Add up pieces of a ring by owner and successor, as ``succession`` returns them."""
    sums: dict[str, dict[str, float]] = {name: defaultdict(float) for name in members}
    for owner, successor, share in zip(owners, successors, shares, strict=True):
        sums[owner][successor] += share
    return sums


def others_after(names: Sequence[str]) -> list[str]:
    """Return for each index of a circle of names the next different name, or the same if there is only one."""
    others = [*names[1:], names[0]]
    repeated = [index for index, (name, other) in enumerate(zip(names, others, strict=True)) if name == other]
    for index in [*reversed(repeated)] * 2:  # twice, for those that go on from the last index to the first
        others[index] = others[(index + 1) % len(names)]
    return others
