"""Work out what has changed in pools since workers were last told.

A worker gets the placement, the availability of backends, and of its users those whose live place is not where the
ring says, and only these: the others it finds by itself. When a ring changes, that is worked out anew and goes in one
message with the ring, so no worker ever has the one without the other.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from balancer.control.pool_state import PoolState
from balancer.health.availability import Availability
from balancer.ipc.messages import PoolSnapshot, Update
from balancer.ipc.placement import placement_state
from balancer.pool.leases import Place
from balancer.pool.placement import Placement


class Publisher:
    """Follows ``pools``, to which pools are added and from which they are removed."""

    def __init__(self, pools: Mapping[str, PoolState]) -> None:
        self._pools = pools
        self._placements: dict[str, Placement] = {}
        self._availabilities: dict[str, dict[str, Availability]] = {}
        self._places: dict[str, dict[bytes, Place]] = defaultdict(dict)

    def states(self) -> dict[str, PoolSnapshot]:
        """Return the whole state, as of the last ``changes``."""
        return {
            name: PoolSnapshot(
                placement_state(pool.placement),
                {each.name: each.availability for each in pool.backends.values()},
                dict(self._places[name]),
            )
            for name, pool in self._pools.items()
        }

    def changes(self, now: float) -> Iterator[Update]:
        """Yield what has changed since the last time, by pool; the updates have no number yet."""
        for name, pool in self._pools.items():
            placement = pool.placement if pool.placement is not self._placements.get(name) else None
            availabilities = self._changed_availabilities(name, pool)
            places = self._changed_places(name, pool, now, everyone=placement is not None)
            if placement is not None or availabilities or places:
                state = placement_state(placement) if placement is not None else None
                yield Update(0, name, state, availabilities, places)

    def _changed_availabilities(self, name: str, pool: PoolState) -> dict[str, Availability]:
        known = self._availabilities.get(name, {})
        present = {backend: each.availability for backend, each in pool.backends.items()}
        self._availabilities[name] = present
        return {backend: each for backend, each in present.items() if known.get(backend) is not each}

    def _changed_places(self, name: str, pool: PoolState, now: float, *, everyone: bool) -> dict[bytes, Place | None]:
        """Return the users, of those whose place may have changed, who are elsewhere than the ring says, or no more."""
        known, leases, placement = self._places[name], pool.leases, pool.placement
        moved = leases.moved
        assert moved is not None
        if everyone:
            moved.update(lease.token for lease in leases.all())
            moved.update(known)
            self._placements[name] = placement
        changed: dict[bytes, Place | None] = {}
        for token in moved:
            lease = leases.get(token, now)
            astray = lease is not None and lease.place != placement.home(token)
            place = (lease.place, bool(lease.sessions)) if lease is not None and astray else None
            if known.get(token) != place:
                changed[token] = place
                if place is None:
                    del known[token]
                else:
                    known[token] = place
        moved.clear()
        return changed
