"""All pools of the daemon, with their configuration and the decisions of operators from the journal."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from balancer.config.model import Config
from balancer.config.pool import PoolConfig
from balancer.config.scalars import no_such
from balancer.control.placement import make_placement
from balancer.control.pool_state import PoolState, RemovedBackend, addresses, backups, configured_weights, extended
from balancer.errors import Refused
from balancer.overlay.entries import Entry, RingRecord
from balancer.overlay.overlay import Overlay
from balancer.pool.digest import Digest
from balancer.pool.placement import Placement
from balancer.ring.base import Ring
from balancer.ring.build import build
from balancer.shared.slots import Slots
from balancer.store.journal import Journal

logger = logging.getLogger("balancer.state")


class Pools:
    """Pool states by name. ``clock`` returns Unix time."""

    def __init__(self, config: Config, journal: Journal, clock: Callable[[], float]) -> None:
        """Start from the journal; a ring that differs from the journal's is noted there."""
        self.states: dict[str, PoolState] = {}
        self.digest = Digest(journal.key)
        self.journal = journal
        self._slots = Slots()
        memory, now = journal.load(), clock()
        self.seq = memory.seq
        """Number of the last entry in the journal."""
        self.known: dict[str, RingRecord] = dict(memory.configs)
        """Ring configurations, as last noted in the journal."""
        self.gone: dict[str, Overlay] = dict(memory.overlays)
        """What was decided about pools that the configuration does not have, in case they come back."""
        self.removed: dict[str, PoolState] = {}
        """Pools that the configuration does not have any more, while users may be left on their backends."""
        if now < memory.saved:
            self._move_along(now - memory.saved)
        for pool in config.pool:
            self._open(pool, self.gone.get(pool.name, Overlay()), now)

    def get(self, name: str) -> PoolState:
        """Return a pool. Raise ``Refused`` if there is none of that name."""
        pool = self.states.get(name)
        if pool is None:
            raise Refused(no_such("pool", name, self.states))
        return pool

    def overlay(self, name: str) -> Overlay:
        """Return what operators decided about a pool that may not be configured at present."""
        pool = self.states.get(name)
        return pool.overlay if pool is not None else self.gone.get(name, Overlay())

    def overlays(self) -> dict[str, Overlay]:
        """Return the overlays of all pools, also of those that are not configured at present."""
        return {**self.gone, **{name: pool.overlay for name, pool in self.states.items()}}

    def placement(
        self,
        config: PoolConfig,
        overlay: Overlay,
        ring: Ring,
        now: float,
        wanted: Mapping[str, float] | None = None,
    ) -> Placement:
        """Return the placement, with the weights ``wanted``, or those of the ring."""
        where = addresses(config, overlay)
        slots = self._slots.assign(config.name, where)
        return make_placement(
            ring, where, overlay, self.digest, now, weights=wanted, backups=backups(config), slots=slots
        )

    def put(self, config: PoolConfig, ring: Ring, weights: Mapping[str, float], now: float) -> None:
        """Give a pool this configuration and ring; one that is not there yet comes into being."""
        pool = self.states.get(config.name)
        if pool is None and (former := self.removed.pop(config.name, None)) is not None and len(former.leases):
            pool = self.states[config.name] = former  # its users are still there
            pool.overlay = self.gone.pop(config.name)
        if pool is not None:
            pool.configure(config)
            self.place(pool, ring, weights, now)
            return
        overlay = self.gone.pop(config.name, Overlay())
        placement = self.placement(config, overlay, ring, now)
        self.states[config.name] = PoolState(config, overlay, ring, weights, placement)

    def place(self, pool: PoolState, ring: Ring, weights: Mapping[str, float], now: float) -> None:
        """Use a ring that was built with ``weights``, and the overlay as it is now."""
        wanted = pool.overlay.live_weights(pool.configured, now)
        placement = self.placement(pool.config, pool.overlay, ring, now, wanted)
        for name in pool.backends.keys() - placement.addresses.keys():
            pool.removed[name] = RemovedBackend(str(pool.backends[name].address), now, pool.backends[name].counts)
        for name in pool.removed.keys() & placement.addresses.keys():
            del pool.removed[name]
        pool.place(ring, weights, placement)

    def shift(self, seconds: float) -> None:
        """Go by a clock that is so much later from now on."""
        for pool in (*self.states.values(), *self.removed.values()):
            pool.overlay = pool.overlay.shifted(seconds)
            for removed in pool.removed.values():
                removed.since += seconds
        self._move_along(seconds)

    def _move_along(self, seconds: float) -> None:
        logger.warning(
            "the system's clock was set by %+.0f s: what lasts a while ends that much later or earlier", seconds
        )
        self.gone = {name: overlay.shifted(seconds) for name, overlay in self.gone.items()}

    def remove(self, name: str, now: float) -> None:
        """Remove a pool; what was decided about it is kept, and where its users are."""
        self.removed = {each: pool for each, pool in self.removed.items() if len(pool.leases)}
        pool = self.removed[name] = self.states.pop(name)
        pool.removed |= {each: RemovedBackend(str(backend.address), now) for each, backend in pool.backends.items()}
        self.gone[name] = pool.overlay

    def _open(self, config: PoolConfig, overlay: Overlay, now: float) -> None:
        """Open a pool at the start; the ring is built here, as nothing is served yet."""
        configured = configured_weights(config)
        weights: Mapping[str, float] = overlay.live_weights(configured, now)
        try:
            ring = build(extended(config, overlay), weights)
        except Refused as error:
            logger.error("%s; weights and backends set live do not fit the configuration: they are left out", error)
            overlay, weights = replace(overlay, weights={}, added={}), configured
            ring = build(config, weights)
        if not overlay.usable(configured, now):
            logger.error('pool "%s": no backend is ready; make one ready with `balancer backend ready`', config.name)
        self.gone[config.name] = overlay
        self.put(config, ring, weights, now)
        self._note_config(config, ring, now)

    def _note_config(self, config: PoolConfig, ring: Ring, now: float) -> None:
        """Journal the configuration of a ring if it is not what the journal knows.

        A disk that does not take it is no reason not to serve: the next start tries again.
        """
        known = self.known.get(config.name)
        mine = RingRecord(ring=config.ring, backends=config.backend)
        if mine == known:
            return
        before = None
        if known is not None:
            with suppress(Refused):  # an older version, or a damaged file, may know what makes no ring here
                before = build(config.model_copy(update={"ring": known.ring, "backend": known.backends})).fingerprint
        entry = Entry(
            seq=self.seq + 1,
            time=now,
            who="balancer (start)",
            pool=config.name,
            config=mine,
            before=before,
            after=ring.fingerprint,
        )
        try:
            self.journal.append(entry)
        except Refused as error:
            logger.error("%s", error)
            return
        self.seq = entry.seq
        self.known[config.name] = mine
