"""haproxy's ``hash-type consistent``: a token belongs to the nearest point of the circle, on either side.

Facts, verified against a running haproxy. At equal distance the lower point wins. Of several points with one key, which
only colliding ids produce, the first declared owns what lies at or below the key and the last what lies just above it.
A server that is down has no points: its tokens go to the nearest remaining point, which need not be the next one
clockwise. So the k-th candidate here is the nearest point of a server not named yet, exactly what haproxy picks when
all the earlier ones are down; haproxy's own redispatch walks clockwise instead and agrees for only 7 tokens in 10.

The border between two points is their middle, rounded down. An owner is therefore found as on any other circle, by
bisecting the ends of arcs; only the search for successors needs the points themselves.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from balancer.ring.base import digest
from balancer.ring.circle import Circle, added, canonical
from balancer.ring.hashes import TokenHash


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Nearest(Circle):
    """A circle on which each point owns the positions nearest to it."""

    points: "array[int]"
    """Keys in ascending order; equal ones in the order of declaration."""
    owners: tuple[str, ...]
    """Owner of each point."""

    def point(self, token: bytes) -> int:
        return self.points[next(self._walk(self.position(token), ()))]

    def order(self, token: bytes) -> Iterator[str]:
        position = self.hash.function(token)
        owner = self.names[bisect_left(self.ends, position)]
        yield owner
        for index in self._walk(position, (owner,)):
            yield self.owners[index]

    def clockwise(self, token: bytes, usable: Collection[str]) -> Iterator[str]:
        """Yield the candidates of haproxy's bounded load: the nearest ``usable`` one, then the others clockwise."""
        missing = set(usable)
        skipped = [name for name in self.members if name not in missing]
        start = next(self._walk(self.position(token), skipped), 0)
        for index in chain(range(start, len(self.owners)), range(start)):
            name = self.owners[index]
            if name in missing:
                missing.remove(name)
                yield name
            if not missing:
                return

    def _walk(self, position: int, skipped: Collection[str]) -> Iterator[int]:
        """Yield the index of the nearest point of each backend not in ``skipped``, nearest first."""
        points, owners, size = self.points, self.owners, len(self.points)
        mask = (1 << self.hash.bits) - 1
        met = set(skipped)
        up = bisect_left(points, position)
        down = up - 1
        for _ in range(len(self.members) - len(met)):
            while owners[up % size] in met:
                up += 1
            while owners[down % size] in met:
                down -= 1
            below = (position - points[down % size]) & mask
            above = (points[up % size] - position) & mask
            nearest = (down if below <= above else up) % size
            met.add(owners[nearest])
            yield nearest

    def point_counts(self) -> dict[str, int]:
        return dict(Counter(self.owners))

    def succession(self) -> dict[str, dict[str, float]]:
        """Cut each point's arc where the nearest point of another backend changes sides."""
        size, count = 1 << self.hash.bits, len(self.points)
        before, after = _others(self.owners)
        around = [self.points[-1] - size, *self.points, self.points[0] + size]
        borders = [(low + high) // 2 for low, high in pairwise(around)]
        owners, successors, shares = [], [], []
        for index, owner in enumerate(self.owners):
            low, high = borders[index], borders[index + 1]
            back, forth = before[index], after[index]
            # Indices beyond the ends of the list are points one turn further.
            lower = self.points[back % count] + back // count * size
            upper = self.points[forth % count] + forth // count * size
            cut = min(max((lower + upper) // 2, low), high)
            owners += [owner, owner]
            successors += [self.owners[back % count], self.owners[forth % count]]
            shares += [(cut - low) / size, (high - cut) / size]
        return added(self.members, owners, successors, shares)


def nearest(hash: TokenHash, points: Sequence[tuple[int, str]], weights: Mapping[str, float]) -> Nearest:
    """Build a circle of ``points`` (key, backend), given in the order of declaration, for a 32-bit ``hash``."""
    ordered = sorted(points, key=lambda point: point[0])
    keys = array("Q", (key for key, _ in ordered))
    owners = tuple(name for _, name in ordered)
    size = 1 << hash.bits
    ends = [(low + high) // 2 for low, high in pairwise(keys)]
    names = owners
    last = (keys[-1] + keys[0] + size) // 2
    if last < size:
        ends.append(last)
    else:
        ends.insert(0, last - size)
        names = (owners[-1], *owners[:-1])
    return Nearest(
        members=tuple(weights),
        weights=weights,
        fingerprint=digest([b"nearest", hash.name.encode(), *canonical(keys, owners)]),
        hash=hash,
        ends=array("Q", ends),
        names=(*names, names[0]),
        points=keys,
        owners=owners,
    )


def _others(owners: Sequence[str]) -> tuple[list[int], list[int]]:
    """For each index the nearest ones before and after it with another owner; they may lie beyond the list's ends.

    With a single owner, each index itself.
    """
    count = len(owners)
    before, after = list(range(count)), list(range(count))
    if len(set(owners)) > 1:
        for index in [*range(count), *range(count)]:
            if owners[index - 1] != owners[index]:
                before[index] = index - 1
            else:
                before[index] = before[index - 1] - (count if index == 0 else 0)
        for index in [*reversed(range(count)), *reversed(range(count))]:
            following = (index + 1) % count
            if owners[following] != owners[index]:
                after[index] = index + 1
            else:
                after[index] = after[following] + (count if following == 0 else 0)
    return before, after
