"""Bounded load by the book: the room of all backends for each token, as an oracle for ``balancer.ring.bounded``.

Facts. Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018) gives each backend room for
``ceil(bound * (tokens + 1) * weight / sum of weights)`` tokens and sends a token to the first backend with room in its
ring order. As ``bound`` is at least 1, there is always one. Nothing is random, so all workers that see the same loads
make the same choice. haproxy's ``hash-balance-factor`` distributes the room in whole slots, and walks the circle
clockwise from the nearest point instead of by distance.
"""

from collections.abc import Collection, Iterator, Mapping
from math import ceil, fsum

from balancer.config.settings import BoundSettings
from balancer.ring.base import Ring
from balancer.ring.nearest import Nearest


def bounded(
    ring: Ring, token: bytes, settings: BoundSettings, load: Mapping[str, int], usable: Collection[str]
) -> Iterator[str]:
    """Yield the ``usable`` backends for a token without a lease: those with room in ring order, then the full ones.

    ``load`` is the number of tokens on each member of the ring. Without a bound in ``settings`` all have room.
    """
    wanted = frozenset(usable)
    declared = [name for name in ring.members if name in wanted]
    order: Iterator[str] = (name for name in ring.order(token) if name in wanted)
    if settings.hash_balance_factor and isinstance(ring, Nearest):
        room = haproxy_slots(ring.weights, load, declared, settings.hash_balance_factor)
        order = ring.clockwise(token, wanted)
    elif settings.bound:
        room = capacities(ring.weights, load, declared, settings.bound)
    else:
        yield from order
        return
    full = []
    for name in order:
        if load[name] < room[name]:
            yield name
        else:
            full.append(name)
    yield from full


def capacities(
    weights: Mapping[str, float], load: Mapping[str, int], usable: Collection[str], bound: float
) -> dict[str, int]:
    """Return how many tokens each usable backend may have, the new one included, at ``bound`` times the mean load."""
    tokens = 1 + sum(load[name] for name in usable)
    total = fsum(weights[name] for name in usable)
    # Round before taking the ceiling: 1.1 * 10 is 11.000000000000002 in floating point.
    return {name: ceil(round(bound * tokens * weights[name] / total, 9)) for name in usable}


def haproxy_slots(
    weights: Mapping[str, float], load: Mapping[str, int], usable: Collection[str], factor: int
) -> dict[str, int]:
    """Return haproxy's slots: ``factor`` percent of the streams, distributed by weight.

    ``usable`` is in the order of declaration. As in haproxy, streams on servers that are no longer usable count too.
    """
    units = {name: max(1, round(16 * weights[name])) for name in usable}
    total = sum(units.values())
    slots = -(-(sum(load.values()) + 1) * factor // 100)
    each, rest = divmod(slots, total)
    before = 0
    dealt = {}
    for name, unit in units.items():
        after = before + unit
        dealt[name] = max(1, unit * each + after * rest // total - before * rest // total)
        before = after
    return dealt
