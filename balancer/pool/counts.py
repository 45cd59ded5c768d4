"""What workers count, as plain values that can be sent and added up.

There are two kinds: counters only grow and outlive their worker, gauges are of the moment and end with it.
"""

from operator import add
from typing import Any

from balancer.pool.pool import Pool

Counts = dict[str, Any]
"""Numbers, or lists of numbers, by names, in dicts of any depth."""


def added(one: Any, other: Any) -> Any:  # noqa: ANN401  # a Counts, or what is in one
    """Return the sum of two, number by number; what only one of them has is taken as it is."""
    if isinstance(one, dict):
        names = {**one, **other}
        return {name: added(one[name], other[name]) if name in one and name in other else names[name] for name in names}
    if isinstance(one, list):
        return list(map(add, one, other))
    return one + other


def pool_counters(pool: Pool) -> Counts:
    """Return what only grows of a pool."""
    return {
        "decisions": dict(pool.decisions),
        "places": dict(pool.places),
        "cookies": dict(pool.cookies),
        "answers": list(pool.traffic.answers),
        "seconds": list(pool.traffic.seconds.counts),
        "seconds_sum": pool.traffic.seconds.sum,
        "retries": pool.retries.made,
        "given_up": dict(pool.retries.given_up),
        "refused": pool.refused,
        "backends": {name: list(backend.counters()) for name, backend in pool.carrying().items()},
    }


def pool_gauges(pool: Pool, now: float) -> Counts:
    """Return what comes and goes."""
    return {"backends": {name: list(backend.gauges(now)) for name, backend in pool.carrying().items()}}
