"""What workers have been told of pools, and what has changed since.

A worker is told the placement, how backends stand, and of its users those whose live place is not where the ring says,
and only these: the others it finds by itself. When a ring changes, that is counted anew and goes in one piece with the
ring, so no worker ever has the one without the other.
"""

from collections import defaultdict
from collections.abc import Iterator

from balancer.control.placement_controller import PlacementController
from balancer.control.pool_state import PoolState
from balancer.health.availability import Availability
from balancer.ipc.messages import PoolSnapshot, Update
from balancer.ipc.placement import placement_state
from balancer.pool.leases import Place
from balancer.pool.placement import Placement


class Publisher:
    """Follows the pools of ``controller``."""

    def __init__(self, controller: PlacementController) -> None:
        self._controller = controller
        self._placements: dict[str, Placement] = {}
        self._availabilities: dict[str, dict[str, Availability]] = {}
        self._places: dict[str, dict[bytes, Place]] = defaultdict(dict)
        self._moved: dict[str, set[bytes]] = defaultdict(set)
        """Tokens whose place may have changed."""
        self.adopt()

    def adopt(self) -> None:
        """Look after the leases of all pools; to be called when there are new ones."""
        for name, pool_state in self._controller.pool_states.items():
            pool_state.pool.leases.changed = self._moved[name].add

    def states(self) -> dict[str, PoolSnapshot]:
        """Everything, as it was told last."""
        return {
            name: PoolSnapshot(
                placement_state(pool_state.pool.placement),
                {each.name: each.availability for each in pool_state.pool.backends.values()},
                dict(self._places[name]),
            )
            for name, pool_state in self._controller.pool_states.items()
        }

    def news(self, now: float) -> Iterator[Update]:
        """What has changed since the last time, by pool; the updates have no number yet."""
        for name, pool_state in self._controller.pool_states.items():
            placement = (
                pool_state.pool.placement if pool_state.pool.placement is not self._placements.get(name) else None
            )
            availabilities = self._changed_availabilities(name, pool_state)
            places = self._changed_places(name, pool_state, now, everyone=placement is not None)
            if placement is not None or availabilities or places:
                yield Update(
                    0, name, placement_state(placement) if placement is not None else None, availabilities, places
                )

    def _changed_availabilities(self, name: str, pool_state: PoolState) -> dict[str, Availability]:
        known = self._availabilities.get(name, {})
        changed = {
            backend: each.availability
            for backend, each in pool_state.pool.backends.items()
            if known.get(backend) is not each.availability  # only changes make new ones
        }
        self._availabilities[name] = {each.name: each.availability for each in pool_state.pool.backends.values()}
        return changed

    def _changed_places(
        self, name: str, pool_state: PoolState, now: float, *, everyone: bool
    ) -> dict[bytes, Place | None]:
        """Of users whose place may have changed, those who are, or are no more, somewhere else than the ring says."""
        moved, known = self._moved[name], self._places[name]
        leases, placement = pool_state.pool.leases, pool_state.pool.placement
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
