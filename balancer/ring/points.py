"""Points of the rings that uhashring builds, and nginx's.

Facts about uhashring (2.4, 2.5) that decide how it is called: weights must be whole numbers, and a weight or number of
points of 0 breaks removal later; its ketama ring hands out points in proportion to the sum of weights and gives a tiny
weight none, without a word; of two equal points the backend added last keeps it. So it is asked for explicit numbers
of points with weight 1 each, never for none, in the order of names, and builds one ring that never changes.
"""

import math
from collections.abc import Mapping

from uhashring import HashRing

from balancer.ring.hashes import TokenHash


def fixed_points(hash: TokenHash, weights: Mapping[str, float], points: int) -> dict[int, str]:
    """``ring``: ``points * weight`` for each backend, whoever else is there: a change moves only what it must."""

    counts = {name: max(1, round(points * weight)) for name, weight in weights.items()}
    return _build(counts, hash_fn=lambda text: hash.function(text.encode()))


def ketama_points(weights: Mapping[str, float]) -> dict[int, str]:
    """``ketama``: four points for each of ``floor(40 * backends * weight / sum of weights)`` md5 digests.

    libketama computes that floor with 32-bit floats, which for 61, 122, 237 … equal backends gives 39 instead of 40;
    uhashring and we compute it exactly.
    """
    total = math.fsum(weights.values())
    counts = {name: max(1, int(40 * len(weights) * weight // total)) for name, weight in weights.items()}
    return _build(counts, hash_fn="ketama")


def _build(counts: Mapping[str, int], hash_fn: object) -> dict[int, str]:
    nodes = {name: {"vnodes": counts[name], "weight": 1} for name in sorted(counts)}
    points: dict[int, str] = HashRing(nodes, hash_fn=hash_fn).ring
    return points
