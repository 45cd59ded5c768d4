"""The placement of a pool as messages carry it."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from balancer.config.scalars import Address
from balancer.ipc.rings import AnyRing, ring_of, ring_state
from balancer.pool.placement import Placement


class PlacementState(Struct, frozen=True):
    """Fields are those of ``Placement``, but for the digest, whose key the worker has."""

    ring: AnyRing
    addresses: dict[str, Address]
    pins: dict[str, str] = {}
    prefixes: tuple[tuple[int, dict[str, str]], ...] = ()
    states: dict[str, Literal["ready", "drain", "maint"]] = {}
    weights: dict[str, float] = {}
    backups: tuple[str, ...] = ()
    slots: dict[str, int] = {}


def placement_state(placement: Placement) -> PlacementState:
    """Return what a message carries of ``placement``."""
    return PlacementState(
        ring=ring_state(placement.ring),
        addresses=dict(placement.addresses),
        pins=dict(placement.pins),
        prefixes=tuple((length, dict(pins)) for length, pins in placement.prefixes),
        states=dict(placement.states),
        weights=dict(placement.weights),
        backups=placement.backups,
        slots=dict(placement.slots),
    )


def placement_of(state: PlacementState, digest: Callable[[bytes], str]) -> Placement:
    """Return the placement that ``state`` describes. Raise ``ValueError`` for one that contradicts itself."""
    if missing := {*state.ring.members, *state.backups} - state.addresses.keys():
        raise ValueError(f"no address for {', '.join(sorted(missing))}")
    return Placement(
        ring=ring_of(state.ring),
        addresses=state.addresses,
        digest=digest,
        pins=state.pins,
        prefixes=state.prefixes,
        states=state.states,
        weights=state.weights,
        backups=state.backups,
        slots=state.slots,
    )
