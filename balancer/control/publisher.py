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
from balancer.pool.leases import Place
from balancer.pool.placement import Placement


class Publisher:
    """Follows the pools of ``keeper``."""

    def __init__(self, keeper: PlacementController) -> None:
        self._keeper = keeper
        self._placements: dict[str, Placement] = {}
        self._standings: dict[str, dict[str, Availability]] = {}
        self._places: dict[str, dict[bytes, Place]] = defaultdict(dict)
        self._moved: dict[str, set[bytes]] = defaultdict(set)
        """Tokens whose place may have changed."""
        self.adopt()

    def adopt(self) -> None:
        """Look after the leases of all pools; to be called when there are new ones."""
        for name, book in self._keeper.books.items():
            book.pool.leases.changed = self._moved[name].add

    def states(self) -> dict[str, PoolSnapshot]:
        """Everything, as it was told last."""
        return {
            name: PoolSnapshot(
                book.pool.placement,
                {each.name: each.standing for each in book.pool.backends.values()},
                dict(self._places[name]),
            )
            for name, book in self._keeper.books.items()
        }

    def news(self, now: float) -> Iterator[Update]:
        """What has changed since the last time, by pool; the updates have no number yet."""
        for name, book in self._keeper.books.items():
            placement = book.pool.placement if book.pool.placement is not self._placements.get(name) else None
            standings = self._changed_standings(name, book)
            places = self._changed_places(name, book, now, everyone=placement is not None)
            if placement is not None or standings or places:
                yield Update(0, name, placement, standings, places)

    def _changed_standings(self, name: str, book: PoolState) -> dict[str, Availability]:
        known = self._standings.setdefault(name, {})
        changed = {
            backend: each.standing
            for backend, each in book.pool.backends.items()
            if known.get(backend) is not each.standing  # only changes make new ones
        }
        known.update(changed)
        return changed

    def _changed_places(self, name: str, book: PoolState, now: float, *, everyone: bool) -> dict[bytes, Place | None]:
        """Of users whose place may have changed, those who are, or are no more, somewhere else than the ring says."""
        moved, known = self._moved[name], self._places[name]
        leases, placement = book.pool.leases, book.pool.placement
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
