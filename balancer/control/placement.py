"""Combine a ring and an overlay into a placement."""

from collections.abc import Callable, Mapping

from balancer.config.scalars import Address
from balancer.overlay.overlay import Overlay
from balancer.pool.placement import Placement
from balancer.ring.base import Ring


def make_placement(
    ring: Ring,
    addresses: Mapping[str, Address],
    overlay: Overlay,
    digest: Callable[[bytes], str],
    now: float,
    weights: Mapping[str, float] | None = None,
    backups: tuple[str, ...] = (),
    slots: Mapping[str, int] | None = None,
) -> Placement:
    """Return the placement of ``overlay`` on ``ring`` at Unix time ``now``, without pins on backends that are gone.

    ``weights`` are those of the ring, unless others are given.
    """
    by_length: dict[int, dict[str, str]] = {}
    pins: dict[str, str] = {}
    for pin in overlay.pins.values():
        if pin.backend in addresses and (pin.until is None or pin.until > now):
            (pins if pin.prefix is None else by_length.setdefault(pin.prefix, {}))[pin.digest] = pin.backend
    states = {name: change.state for name, change in overlay.states.items()}
    prefixes = tuple(sorted(by_length.items(), reverse=True))
    weights = ring.weights if weights is None else weights
    return Placement(ring, addresses, digest, pins, prefixes, states, weights, backups, slots or {})
