"""Plan a change of the ring: what would move, without changing anything.

If both rings hash tokens alike, the result is exact: the points of both circles cut the key space into pieces with one
owner before and one after, two tables are compared slot by slot, and rendezvous has a formula. Otherwise (another
algorithm, hash or seed) a fixed sample of tokens is placed on both.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import fsum, sqrt
from weakref import WeakKeyDictionary

from balancer.ring.base import Ring, digest
from balancer.ring.circle import Circle
from balancer.ring.rendezvous import Rendezvous, moves
from balancer.ring.table import Table, joint

_SAMPLE = 10_000
_MOVES_KEPT = 1000
_sides: "WeakKeyDictionary[Ring, Side]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Move:
    """A share of all tokens that moves from one backend to another."""

    source: str
    target: str
    share: float
    needless: bool
    """The move is not due to weights: the source did not lose weight, and the target did not gain any."""


@dataclass(frozen=True)
class Load:
    """A backend's share of all tokens divided by its fair share, which is proportional to its weight."""

    backend: str
    ratio: float


@dataclass(frozen=True)
class Loss:
    """The loss of one backend that overloads another most: ``heir``'s load after the loss of ``lost``."""

    lost: str
    heir: Load


@dataclass(frozen=True)
class Side:
    """One of the two rings of a plan: its shares, and how even they are."""

    fingerprint: str
    weights: Mapping[str, float]
    shares: Mapping[str, float]
    fullest: Load
    worst_loss: Loss | None
    """None for a ring with a single backend."""


@dataclass(frozen=True)
class Plan:
    """A change of the ring, in shares of all possible tokens."""

    id: str
    """Digest of both rings and the overlay: if one of them has changed since, the plan is stale."""
    before: Side
    after: Side
    moved: float
    """Share of all tokens that move."""
    needless: float
    """Share of all tokens that move although no change of weights requires it."""
    pairs: int
    """Number of pairs of backends between which tokens move: with 500 backends there may be 250,000."""
    moves: tuple[Move, ...]
    """The largest of these, the largest first."""
    sampled: int
    """Size of the sample by which moves were counted, 0 if they are exact."""

    @property
    def standard_error(self) -> float:
        """Standard error of ``moved``; 0 if that is exact."""
        return sqrt(self.moved * (1 - self.moved) / self.sampled) if self.sampled else 0.0


def plan(before: Ring, after: Ring, overlay: str = "") -> Plan:
    """Plan the replacement of ``before`` by ``after``; ``overlay`` is the version of the overlay (pins and states)."""
    pairs, sampled = _pairs(before, after)
    moved = {pair: share for pair, share in pairs.items() if pair[0] != pair[1] and share}
    lighter = {name for name, weight in before.weights.items() if after.weights.get(name, 0) < weight}
    heavier = {name for name, weight in after.weights.items() if before.weights.get(name, 0) < weight}
    needless = {pair for pair in moved if pair[0] not in lighter and pair[1] not in heavier}
    largest = heapq.nsmallest(_MOVES_KEPT, moved.items(), key=lambda each: (-each[1], each[0]))
    return Plan(
        id=digest(text.encode() for text in (before.fingerprint, after.fingerprint, overlay)),
        before=side(before),
        after=side(after),
        moved=fsum(moved.values()),
        needless=fsum(map(moved.__getitem__, needless)),
        pairs=len(moved),
        moves=tuple(Move(*pair, share, pair in needless) for pair, share in largest),
        sampled=sampled,
    )


def side(ring: Ring) -> Side:
    """Return how even a ring is, now and after the loss of any one backend; it is computed once for each ring."""
    if ring not in _sides:
        _sides[ring] = _side(ring)
    return _sides[ring]


def _side(ring: Ring) -> Side:
    total = fsum(ring.weights.values())
    fair = {name: weight / total for name, weight in ring.weights.items()}
    succession = ring.succession()
    shares = {name: sum(parts.values()) for name, parts in succession.items()}
    worst, ratio = None, 0.0
    for lost, parts in succession.items():
        for heir, part in parts.items():
            load = (shares[heir] + part) / fair[heir]
            if load > ratio and heir != lost:
                worst, ratio = (lost, heir), load
    fullest = max(ring.members, key=lambda name: shares[name] / fair[name])
    return Side(
        fingerprint=ring.fingerprint,
        weights=ring.weights,
        shares=shares,
        fullest=Load(fullest, shares[fullest] / fair[fullest]),
        worst_loss=Loss(worst[0], Load(worst[1], ratio)) if worst else None,
    )


def _pairs(before: Ring, after: Ring) -> tuple[Mapping[tuple[str, str], float], int]:
    """Share of all tokens by (owner before, owner after), and the size of the sample, 0 if exact."""
    if isinstance(before, Circle) and isinstance(after, Circle) and before.hash.name == after.hash.name:
        return _merged(before, after), 0
    if isinstance(before, Table) and isinstance(after, Table) and before.hash.name == after.hash.name:
        return joint(before.slots, after.slots), 0
    if isinstance(before, Rendezvous) and isinstance(after, Rendezvous) and before.hash.name == after.hash.name:
        return moves(before, after), 0
    return _sampled(before, after), _SAMPLE


def _merged(before: Circle, after: Circle) -> dict[tuple[str, str], float]:
    old_ends, old_names, old = before.ends, before.names, 0
    new_ends, new_names, new = after.ends, after.names, 0
    size = 1 << before.hash.bits
    lengths: Counter[tuple[str, str]] = Counter()
    last = -1
    for end in sorted({*old_ends, *new_ends, size - 1}):
        lengths[old_names[old], new_names[new]] += end - last
        last = end
        while old < len(old_ends) and old_ends[old] <= end:
            old += 1
        while new < len(new_ends) and new_ends[new] <= end:
            new += 1
    return {pair: length / size for pair, length in lengths.items()}


def _sampled(before: Ring, after: Ring) -> dict[tuple[str, str], float]:
    pairs: Counter[tuple[str, str]] = Counter()
    for number in range(_SAMPLE):
        token = blake2b(number.to_bytes(8, "big"), digest_size=16, person=b"balancer plan").hexdigest().encode()
        pairs[before.owner(token), after.owner(token)] += 1
    return {pair: count / _SAMPLE for pair, count in pairs.items()}
