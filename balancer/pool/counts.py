"""What workers count, as plain values that can be sent, added up over workers, and laid down in control's own pools.

Two kinds, kept apart: ``counters`` only grow and outlive the worker, ``gauges`` are of the moment and end with it.
"""

from collections import Counter
from operator import add
from typing import Any

from balancer.pool.backend import Backend
from balancer.pool.pool import Pool

Counts = dict[str, Any]
"""Numbers, or lists of numbers, by names, in dicts of any depth."""


def added(one: Any, other: Any) -> Any:  # noqa: ANN401  # a Counts, or what is in one
    """The sum of two, number by number; what only one has is taken from it."""
    if isinstance(one, dict):
        names = {**one, **other}
        return {name: added(one[name], other[name]) if name in one and name in other else names[name] for name in names}
    if isinstance(one, list):
        return list(map(add, one, other))
    return one + other


def pool_counters(pool: Pool) -> Counts:
    """What only grows of a pool."""
    return {
        "decisions": dict(pool.decisions),
        "answers": list(pool.traffic.answers),
        "seconds": list(pool.traffic.seconds.counts),
        "seconds_sum": pool.traffic.seconds.sum,
        "retries": pool.retries.made,
        "given_up": dict(pool.retries.given_up),
        "refused": pool.refused,
        "backends": {name: list(backend.counters()) for name, backend in pool.backends.items()},
    }


def pool_gauges(pool: Pool, now: float) -> Counts:
    """What comes and goes."""
    return {"backends": {name: list(backend.gauges(now)) for name, backend in pool.backends.items()}}


def lay_down(pool: Pool, counters: Counts, gauges: Counts) -> None:
    """Have ``pool`` show what was counted elsewhere."""
    if counters:
        pool.decisions = Counter(counters["decisions"])
        pool.traffic.answers = counters["answers"]
        pool.traffic.seconds.counts = counters["seconds"]
        pool.traffic.seconds.sum = counters["seconds_sum"]
        pool.retries.made, pool.retries.given_up = counters["retries"], counters["given_up"]
        pool.refused = counters["refused"]
    for names, counts in ((Backend.COUNTERS, counters), (Backend.GAUGES, gauges)):
        backends = counts.get("backends", {})
        for name, backend in pool.backends.items():
            for field, value in zip(names, backends.get(name) or [0] * len(names), strict=True):
                setattr(backend, field, value)
