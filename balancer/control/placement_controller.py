"""The one place where placement changes: overlay, ring and journal of every pool.

A change is checked, its ring built (in a thread), written to the journal and fsynced, and only then in force and
acknowledged; all of that under one lock, so changes have an order, which is the journal's. What time itself changes
(pins that end, ramps that go on) goes the same way.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import trio

from balancer.config import model
from balancer.config.plain import pool_settings
from balancer.config.settings import BackendTlsSettings
from balancer.control.compute import compute
from balancer.control.events import Events
from balancer.control.placement import make_placement
from balancer.control.pool_state import PoolState, addresses, backups, extended, version, weights_in_force
from balancer.errors import Refused
from balancer.health.tracker import unprobed
from balancer.overlay.describe import describe
from balancer.overlay.entries import Entry, RingConfig
from balancer.overlay.overlay import Change, Overlay
from balancer.pool.digest import Digest
from balancer.pool.placement import Placement
from balancer.pool.pool import Pool
from balancer.ring.base import Ring
from balancer.ring.build import build
from balancer.shared.slots import Slots
from balancer.store.journal import Journal

logger = logging.getLogger("balancer.state")

TICK = 1.0
"""Seconds between two looks at what time has changed."""


class Outdated(Refused):
    """A change that was meant for another state of the pool than the present one."""


class PlacementController:
    """Overlays and rings of all pools, kept in ``journal``.

    ``wall`` tells Unix time, by which pins end, ramps go on and drains are over. ``in_force`` is awaited after each
    change, until whoever places users goes by it.
    """

    def __init__(
        self,
        config: model.Config,
        journal: Journal,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.digest = Digest(journal.key)
        self.secret = journal.key
        self.wall = wall
        self.persistent = config.state_dir is not None
        self.in_force: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.publish: Callable[[], None] = _nobody
        """Called when backends stand otherwise than before: whoever places users is to know soon."""
        self.events = Events(wall)
        """What changes here and elsewhere in the daemon."""
        self.pool_states: dict[str, PoolState] = {}
        self._journal = journal
        self._lock = trio.Lock()
        self._slots = Slots()
        memory = journal.load()
        self._seq = memory.seq
        self._known: dict[str, RingConfig] = dict(memory.configs)
        self._gone: dict[str, Overlay] = dict(memory.overlays)
        """What was decided about pools that the configuration does not have, in case they come back."""
        for pool in config.pool:
            self._open(pool, self._gone.pop(pool.name, Overlay()))

    def pool_state(self, pool: str) -> PoolState:
        """The book of a pool. Raises ``Refused`` if there is none of that name."""
        pool_state = self.pool_states.get(pool)
        if pool_state is None:
            raise Refused(f'there is no pool "{pool}" here; there are {", ".join(self.pool_states)}')
        return pool_state

    @property
    def seq(self) -> int:
        """Number of the last entry in the journal."""
        return self._seq

    async def change(self, pool: str, changes: Sequence[Change], who: str, only_at: str | None = None) -> Entry:
        """Make ``changes``, all or none, and return their entry in the journal.

        ``only_at`` is a ``version`` of the pool: ``Outdated`` if it has changed since. Raises ``Refused``.
        """
        pool_state = self.pool_state(pool)
        with trio.CancelScope(shield=True):  # a caller that leaves must not leave a change half made
            async with self._lock:
                if only_at is not None and only_at != version(pool_state):
                    raise Outdated("the ring or its overlay has changed since; look again, or make a new plan")
                now = self.wall()
                overlay = pool_state.overlay
                for change in changes:
                    overlay = overlay.apply(change, pool_state.configured, now)
                ring, weights = await self._ring(pool_state, overlay, now)
                entry = Entry(
                    seq=self._seq + 1,
                    time=now,
                    who=who,
                    pool=pool,
                    changes=tuple(changes),
                    before=pool_state.ring.fingerprint,
                    after=ring.fingerprint,
                )
                await self._commit(entry, {pool: overlay})
                pool_state.overlay = overlay
                self._tell(entry)
                self._publish(pool_state, ring, weights, now)
                await self.in_force()
        return entry

    async def reconfigure(self, config: model.Config, who: str) -> Callable[[], None]:
        """Make ready what ``config`` says of pools; calling what is returned puts it in force, and cannot fail.

        It is in the journal by then. Raises ``Refused``, and nothing has changed, for a pool that cannot be had.
        """
        now = self.wall()
        rings: dict[str, tuple[Ring, Mapping[str, float]]] = {}
        entries: list[Entry] = []
        for pool in config.pool:
            pool_state = self.pool_states.get(pool.name)
            overlay = pool_state.overlay if pool_state is not None else self._gone.get(pool.name, Overlay())
            if pool_state is not None:
                weights = weights_in_force(replace(pool_state, config=pool), overlay, now)
            else:
                weights = overlay.live_weights({backend.name: backend.weight for backend in pool.backend}, now)
            try:
                ring = await compute(build, extended(pool, overlay), weights)
            except Refused as error:
                raise Refused(f"{error}; what was set live does not fit: take it back, or change the file") from None
            rings[pool.name] = ring, weights
            mine = RingConfig(ring=pool.ring, backends=pool.backend)
            if mine != self._known.get(pool.name):
                entries.append(
                    Entry(
                        seq=self._seq + len(entries) + 1,
                        time=now,
                        who=who,
                        pool=pool.name,
                        config=mine,
                        before=pool_state.ring.fingerprint if pool_state is not None else None,
                        after=ring.fingerprint,
                    )
                )
        if entries:
            await trio.to_thread.run_sync(self._journal.append, *entries)

        def put_in_force() -> None:
            for entry in entries:
                assert entry.config is not None
                self._seq, self._known[entry.pool] = entry.seq, entry.config
            for name in self.pool_states.keys() - rings.keys():
                self._gone[name] = self.pool_states.pop(name).overlay
            for pool in config.pool:
                self._put(pool, *rings[pool.name], now)

        return put_in_force

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While inside, nothing else changes."""
        async with self._lock:
            yield

    async def ring_of(self, pool_state: PoolState, overlay: Overlay, *, effective: bool = False) -> Ring:
        """The ring ``overlay`` would make now; ``effective`` leaves out the backends that take nobody new."""
        weights = weights_in_force(pool_state, overlay, self.wall())
        if effective:
            weights |= dict.fromkeys(overlay.states.keys() & weights.keys(), 0.0)
        return await self._build(pool_state, overlay, weights)

    async def run(self) -> None:
        """Do what time asks for, until cancelled."""
        while True:
            await trio.sleep(TICK)
            for name, pool_state in list(self.pool_states.items()):
                try:
                    await self._pass(name, pool_state)
                except Refused as error:
                    logger.error("pool %s: %s", name, error)

    def entries(self) -> list[Entry]:
        """The journal, oldest first; reads the disk: call it in a thread."""
        return self._journal.entries()

    async def _pass(self, name: str, pool_state: PoolState) -> None:
        """Put in force what time has brought, which the entries of pins and ramps already tell; note ended pins."""
        now = self.wall()
        expired: list[Change] = list(pool_state.overlay.expired(now))
        if expired or pool_state.weights != weights_in_force(pool_state, pool_state.overlay, now):
            async with self._lock:
                ring, weights = await self._ring(pool_state, pool_state.overlay, now)
                self._publish(pool_state, ring, weights, now)
                await self.in_force()
        if expired:
            await self.change(name, expired, "balancer (expiry)")

    async def _ring(self, pool_state: PoolState, overlay: Overlay, now: float) -> tuple[Ring, Mapping[str, float]]:
        weights = weights_in_force(pool_state, overlay, now)
        if weights == pool_state.weights and overlay.added == pool_state.overlay.added:
            return pool_state.ring, weights
        return await self._build(pool_state, overlay, weights), weights

    async def _build(self, pool_state: PoolState, overlay: Overlay, weights: Mapping[str, float]) -> Ring:
        return await compute(build, extended(pool_state.config, overlay), weights)

    async def _commit(self, entry: Entry, overlays: Mapping[str, Overlay]) -> None:
        await trio.to_thread.run_sync(self._journal.append, entry)
        everything = {
            **self._gone,
            **{name: pool_state.overlay for name, pool_state in self.pool_states.items()},
            **overlays,
        }
        await trio.to_thread.run_sync(self._journal.save, entry.seq, everything, self._known)
        self._seq = entry.seq

    def _tell(self, entry: Entry) -> None:
        """Let those who look on know of a change."""
        for change in entry.changes:
            said = describe(change)
            logger.info("%s changed by %s: %s", entry.pool, entry.who, said, extra={"pool": entry.pool})
            facts = change.model_dump(mode="json", exclude={"op", "since"})
            self.events.emit(
                change.op, f"{said}, by {entry.who}", **facts, pool=entry.pool, who=entry.who, seq=entry.seq
            )

    def _publish(self, pool_state: PoolState, ring: Ring, weights: Mapping[str, float], now: float) -> None:
        if ring.fingerprint != pool_state.ring.fingerprint:
            text = (
                f"pool {pool_state.config.name} has ring {ring.fingerprint} in place of {pool_state.ring.fingerprint}"
            )
            self.events.emit(
                "ring", text, pool=pool_state.config.name, before=pool_state.ring.fingerprint, after=ring.fingerprint
            )
        pool_state.ring, pool_state.weights = ring, weights
        wanted = pool_state.overlay.live_weights(pool_state.configured, now)
        placement = self._placement(pool_state.config, pool_state.overlay, ring, now, wanted)
        pool_state.pool.place(placement, unprobed(pool_state.config, placement.addresses))

    def _placement(
        self, config: model.Pool, overlay: Overlay, ring: Ring, now: float, wanted: Mapping[str, float] | None = None
    ) -> Placement:
        """The placement, with the weights ``wanted``, or those of the ring."""
        where = addresses(config, overlay)
        return make_placement(
            ring,
            where,
            overlay,
            self.digest,
            now,
            weights=wanted,
            backups=backups(config),
            slots=self._slots.assign(config.name, where),
        )

    def _open(self, config: model.Pool, overlay: Overlay) -> None:
        """Start with a pool; nothing is served yet, so the ring is built here."""
        now = self.wall()
        configured = {backend.name: backend.weight for backend in config.backend}
        weights: Mapping[str, float] = overlay.live_weights(configured, now)
        try:
            ring = build(extended(config, overlay), weights)
        except Refused as error:
            logger.error("%s; weights and backends set live do not fit the configuration: they are left out", error)
            overlay, weights = replace(overlay, weights={}, added={}), configured
            ring = build(config, weights)
        if not overlay.usable(configured, now):
            logger.error('pool "%s": no backend is ready; make one ready with `balancer backend ready`', config.name)
        self._gone[config.name] = overlay
        self._put(config, ring, weights, now)
        self._note_config(config, ring)

    def _put(self, config: model.Pool, ring: Ring, weights: Mapping[str, float], now: float) -> None:
        """Have the book of a pool say this, a new one if there is none."""
        pool_state = self.pool_states.get(config.name)
        if pool_state is not None:
            pool_state.config = config
            pool_state.pool.configure(pool_settings(config, BackendTlsSettings()))
            self._publish(pool_state, ring, weights, now)
            return
        overlay = self._gone.pop(config.name, Overlay())
        placement = self._placement(config, overlay, ring, now)
        pool = Pool(pool_settings(config, BackendTlsSettings()), placement, unprobed(config, placement.addresses))
        self.pool_states[config.name] = PoolState(pool, config, overlay, ring, weights)

    def _note_config(self, config: model.Pool, ring: Ring) -> None:
        """Journal the configuration of a ring if it is not what the journal knows.

        A disk that does not take it is no reason not to serve: the next start tries again.
        """
        known = self._known.get(config.name)
        mine = RingConfig(ring=config.ring, backends=config.backend)
        if mine == known:
            return
        before = None
        if known is not None:
            with suppress(Refused):  # an older version, or a damaged file, may know what makes no ring here
                before = build(config.model_copy(update={"ring": known.ring, "backend": known.backends})).fingerprint
        entry = Entry(
            seq=self._seq + 1,
            time=self.wall(),
            who="balancer (start)",
            pool=config.name,
            config=mine,
            before=before,
            after=ring.fingerprint,
        )
        try:
            self._journal.append(entry)
        except Refused as error:
            logger.error("%s", error)
            return
        self._seq = entry.seq
        self._known[config.name] = mine


def _nobody() -> None:
    """There is nobody to tell."""
