"""Weighted rendezvous hashing (Thaler and Ravishankar 1996; weights after Schindelhauer and Schomaker 2005).

Every backend draws a uniform number between 0 and 1 for the token, and ``-ln(number) / weight`` is its arrival time: an
exponential race, which each backend wins with probability ``weight / sum of weights``. Arrival times do not depend on
the other backends. Shares are therefore exact, and a change moves exactly what it must. A lookup computes the draw of
every backend, which takes about 100 us for 100 backends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, inf, log

from balancer.ring.base import Ring, digest, in_proportion
from balancer.ring.hashes import TokenHash


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Rendezvous(Ring):
    """A ring without points."""

    def position(self, token: bytes) -> int:
        return self.hash.function(token)

    def point(self, token: bytes) -> int:
        return self._draw(self.owner(token), token)

    def owner(self, token: bytes) -> str:
        return min(self._race(token))[1]

    def order(self, token: bytes) -> Iterator[str]:
        return (name for _, name in sorted(self._race(token)))

    def point_counts(self) -> dict[str, int]:
        return {}

    def succession(self) -> dict[str, dict[str, float]]:
        return {name: in_proportion(name, self.weights) for name in self.members}

    def _race(self, token: bytes) -> Iterator[tuple[float, str]]:
        scale = 1 << self.hash.bits
        for name, weight in self.weights.items():
            yield -log((self._draw(name, token) + 0.5) / scale) / weight, name

    def _draw(self, name: str, token: bytes) -> int:
        return self.hash.function(b"%b\0%b" % (name.encode(), token))


def rendezvous(hash: TokenHash, weights: Mapping[str, float]) -> Rendezvous:
    """Build the ring of backends with these ``weights``."""
    runners = "\n".join(f"{name} {weight.hex()}" for name, weight in weights.items())
    return Rendezvous(
        members=tuple(weights),
        weights=weights,
        fingerprint=digest([b"rendezvous", hash.name.encode(), runners.encode()]),
        hash=hash,
    )


def moves(before: Rendezvous, after: Rendezvous) -> dict[tuple[str, str], float]:
    """Return the exact share of all tokens that move, by (owner before, owner after), for two rings with one hash.

    A backend c of weight u before and v after draws one exponential number for both races. That a wins the first at
    time s, and b the second at time r * s, takes every c to have drawn ``max(u[c], v[c] * r) * s`` or more, which for a
    and b themselves means ``u[b] / v[b] <= r <= u[a] / v[a]``. Integrated over s that leaves ``u[a] * v[b]`` times the
    integral of ``1 / S(r)**2`` over those r, where S(r), the sum of the maxima, is piecewise linear and the same for
    every pair.
    """
    old, new = before.weights, after.weights
    names = sorted(old.keys() | new.keys())
    turn = {name: old.get(name, 0.0) / new[name] if name in new else inf for name in names}
    integral = {0.0: 0.0}
    for low, high in pairwise(sorted({0.0, *turn.values()})):
        constant = fsum(old.get(name, 0.0) for name in names if turn[name] > low)
        slope = fsum(new[name] for name in names if turn[name] <= low)
        start = constant + slope * low
        piece = 1 / (slope * start) if high == inf else (high - low) / (start * (constant + slope * high))
        integral[high] = integral[low] + piece
    return {
        (source, target): old[source] * new[target] * (integral[turn[source]] - integral[turn[target]])
        for source in old
        for target in new
        if turn[source] > turn[target]
    }
