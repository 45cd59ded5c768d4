"""Panic: so little of a pool seems healthy that its health is better ignored.

Some facts. Envoy (healthy_panic_threshold) ignores the health of a cluster of which less than half is healthy: the rest
could not carry the load, and so many failures at once suggest that the checks are wrong rather than the hosts. Here
that matters more. A user who is sent to another host finds another home directory there and begins to write in it, so a
fault of the checks would split the files of nearly all users. In panic users stay where their files are, and those
whose host is really dead go elsewhere as soon as it does not accept a connection. On the other hand pools are small,
and two of three hosts may well be dead, so the default threshold is below a third.

Backends that operators or the hosts themselves have taken out do not count, nor do those that have not been probed yet.
"""

from collections.abc import Iterable

from balancer.health.availability import Availability


def healthy_share(members: Iterable[tuple[float, Availability]]) -> float:
    """Return the share of the weight that is healthy, from 0 to 1; backends are given as weight and availability."""
    healthy = judged = 0.0
    for weight, availability in members:
        if availability.requested_state in ("drain", "maint") or availability.unknown:
            continue
        judged += weight
        if not availability.ill(tunnels=False):
            healthy += weight
    return healthy / judged if judged else 1.0
