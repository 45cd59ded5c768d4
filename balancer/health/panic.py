"""Panic: so little of a pool seems healthy that its health is better ignored.

Some facts. Envoy (healthy_panic_threshold) ignores the health of a cluster of which less than half is healthy: the rest
could not carry the load, and so many failures at once speak against the checks rather than the hosts. Here it counts
for more. A user who is sent past their host finds another home directory there and begins to write in it, so a fault of
the checks would split the files of nearly everybody. In panic users stay where their files are, and one whose host is
really dead is passed on as soon as it does not accept a connection. On the other hand pools are small, and of three
hosts two may well be dead, so the default threshold lies below a third.

Left out of the reckoning are backends that operators, or the hosts themselves, have taken out, and those nobody has
judged yet.
"""

from collections.abc import Iterable

from balancer.health.availability import Availability


def healthy_share(members: Iterable[tuple[float, Availability]]) -> float:
    """Share of the weight that is healthy, from 0 to 1; of backends given as weight and standing."""
    healthy = judged = 0.0
    for weight, availability in members:
        if availability.requested_state in ("drain", "maint") or availability.unknown:
            continue
        judged += weight
        if not availability.ill(tunnels=False):
            healthy += weight
    return healthy / judged if judged else 1.0
