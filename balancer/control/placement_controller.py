"""Change placement: the overlay, ring and journal of every pool change only here.

A change is checked, its ring built (in a thread), written to the journal and fsynced, and only then active and
acknowledged; all of that under one lock, so changes have an order, which is the journal's. What time itself changes
(pins that end, ramps that go on) goes the same way.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from balancer.config.model import Config
from balancer.config.pool import PoolConfig
from balancer.config.scalars import format_duration
from balancer.control.clock import Clock
from balancer.control.compute import compute
from balancer.control.deadlines import default_cut
from balancer.control.events import Events
from balancer.control.pool_state import PoolState, extended
from balancer.control.pools import Pools
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import Refused
from balancer.overlay.describe import describe
from balancer.overlay.entries import Entry, RingRecord
from balancer.overlay.overlay import Change, Overlay, SetState
from balancer.ring.base import Ring
from balancer.ring.build import build

logger = logging.getLogger("balancer.state")

TICK = 1.0
"""Seconds between two checks for what has changed with time."""


class Outdated(Refused):
    """The pool has changed since the version that a change was made for."""


class PlacementController:
    """Changes ``pools``; a change is acknowledged when the workers in ``registry`` have activated it.

    ``clock`` returns Unix time, by which pins end, ramps go on and drains are over.
    """

    def __init__(self, pools: Pools, registry: WorkerRegistry, events: Events, clock: Clock) -> None:
        self.pools = pools
        self._registry = registry
        self._events = events
        self._clock = clock
        self._lock = trio.Lock()

    async def change(self, pool: str, changes: Sequence[Change], who: str, only_at: str | None = None) -> Entry:
        """Make ``changes``, all or none, and return their entry in the journal.

        ``only_at`` is a ``version`` of the pool: ``Outdated`` if it has changed since. Raise ``Refused``.
        """
        pools = self.pools
        state = pools.get(pool)
        with trio.CancelScope(shield=True):  # a cancelled caller must not leave half a change
            async with self._lock:
                if only_at is not None and only_at != state.version:
                    raise Outdated("the ring or its overlay has changed since; look again, or make a new plan")
                now = self._clock()
                changes = [self._with_deadline(change, state) for change in changes]
                overlay = state.overlay
                for change in changes:
                    overlay = overlay.apply(change, state.configured, now, who)
                ring, weights = await self._ring(state, overlay, now)
                entry = Entry(
                    seq=pools.seq + 1,
                    time=now,
                    who=who,
                    pool=pool,
                    changes=tuple(changes),
                    before=state.ring.fingerprint,
                    after=ring.fingerprint,
                )
                await trio.to_thread.run_sync(pools.journal.append, entry)
                overlays = {**pools.overlays(), pool: overlay}
                await trio.to_thread.run_sync(pools.journal.save, entry.seq, overlays, pools.known, now)
                pools.seq = entry.seq
                state.overlay = overlay
                self._announce(entry)
                self._place(state, ring, weights, now)
                await self._registry.settled()
        return entry

    def try_state(self, pool: str, change: SetState) -> float | None:
        """Return when ``change`` would close tunnels, None for never. Raise ``Refused`` as making it would."""
        state, now = self.pools.get(pool), self._clock()
        state.overlay.apply(change, state.configured, now)
        after = (
            default_cut(self._registry.active.config, state.config) if change.cut_after is None else change.cut_after
        )
        return None if after == "never" or change.state == "ready" else now + after

    def _with_deadline(self, change: Change, state: PoolState) -> Change:
        """Say in a drain or maint how long it lasts: what operators were told holds, whatever a reload changes."""
        if isinstance(change, SetState) and change.state != "ready" and change.cut_after is None:
            cut_after = default_cut(self._registry.active.config, state.config)
            return change.model_copy(update={"cut_after": cut_after})
        return change

    async def reconfigure(self, config: Config, who: str) -> Callable[[], None]:
        """Prepare what ``config`` says of pools; calling what is returned activates it, and cannot fail.

        It is in the journal by then. Raise ``Refused``, and nothing has changed, for a pool that cannot be had.
        """
        pools, now = self.pools, self._clock()
        rings: dict[str, tuple[Ring, Mapping[str, float]]] = {}
        entries: list[Entry] = []
        for pool in config.pool:
            state, overlay = pools.states.get(pool.name), pools.overlay(pool.name)
            if state is not None:
                weights = state.live_weights(overlay, now, pool)
            else:
                weights = overlay.live_weights({backend.name: backend.weight for backend in pool.backend}, now)
            try:
                ring = await compute(build, extended(pool, overlay), weights)
            except Refused as error:
                raise Refused(f"{error}; what was set live does not fit: take it back, or change the file") from None
            rings[pool.name] = ring, weights
            mine = RingRecord(ring=pool.ring, backends=pool.backend)
            if mine != pools.known.get(pool.name):
                entries.append(
                    Entry(
                        seq=pools.seq + len(entries) + 1,
                        time=now,
                        who=who,
                        pool=pool.name,
                        config=mine,
                        before=state.ring.fingerprint if state is not None else None,
                        after=ring.fingerprint,
                    )
                )
        if entries:
            await trio.to_thread.run_sync(pools.journal.append, *entries)

        def activate() -> None:
            for entry in entries:
                assert entry.config is not None
                pools.seq, pools.known[entry.pool] = entry.seq, entry.config
            for name in pools.states.keys() - rings.keys():
                pools.remove(name, now)
            for pool in config.pool:
                pools.put(pool, *rings[pool.name], now)

        return activate

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the lock: nothing changes inside."""
        async with self._lock:
            yield

    async def ring_of(
        self, state: PoolState, overlay: Overlay, config: PoolConfig | None = None, *, effective: bool = False
    ) -> Ring:
        """Return the ring that ``overlay``, and another configuration of the pool, would make now.

        ``effective`` leaves out the backends that take no new users.
        """
        config = config or state.config
        weights = state.live_weights(overlay, self._clock(), config)
        if effective:
            weights |= dict.fromkeys(overlay.states.keys() & weights.keys(), 0.0)
        return await compute(build, extended(config, overlay), weights)

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            await trio.sleep(TICK)
            await self._keep_time()
            for name, state in list(self.pools.states.items()):
                try:
                    await self._pass(name, state)
                except Refused as error:
                    logger.error("pool %s: %s", name, error)

    async def _keep_time(self) -> None:
        """Follow a step of the system's clock, and keep on the disk what has ended."""
        async with self._lock:
            step, states = self._clock.take_step(), self.pools.states.values()
            if step:
                self.pools.shift(step)
            now = self._clock()
            settled = [state.overlay.settled(now) for state in states]
            if step or any(each is not state.overlay for each, state in zip(settled, states, strict=True)):
                for each, state in zip(settled, states, strict=True):
                    state.overlay = each
                pools = self.pools
                await trio.to_thread.run_sync(pools.journal.save, pools.seq, pools.overlays(), pools.known, now)

    async def _pass(self, name: str, state: PoolState) -> None:
        """Activate what time has brought, which the entries of pins and ramps already tell; note ended pins."""
        now = self._clock()
        expired: list[Change] = list(state.overlay.expired(now))
        if expired or state.weights != state.live_weights(state.overlay, now):
            async with self._lock:
                ring, weights = await self._ring(state, state.overlay, now)
                self._place(state, ring, weights, now)
                await self._registry.settled()
        if expired:
            await self.change(name, expired, "balancer (expiry)")

    async def _ring(self, state: PoolState, overlay: Overlay, now: float) -> tuple[Ring, Mapping[str, float]]:
        weights = state.live_weights(overlay, now)
        if weights == state.weights and overlay.added == state.overlay.added:
            return state.ring, weights
        return await compute(build, extended(state.config, overlay), weights), weights

    def _announce(self, entry: Entry) -> None:
        for change in entry.changes:
            text = describe(change)
            if isinstance(change, SetState) and change.cut_after is not None:
                when = "never" if change.cut_after == "never" else f"after {format_duration(change.cut_after)}"
                text += f", tunnels left are closed {when}"
            logger.info("%s changed by %s: %s", entry.pool, entry.who, text, extra={"pool": entry.pool})
            fields = change.model_dump(mode="json", exclude={"op", "since"})
            self._events.emit(
                change.op, f"{text}, by {entry.who}", **fields, pool=entry.pool, who=entry.who, seq=entry.seq
            )

    def _place(self, state: PoolState, ring: Ring, weights: Mapping[str, float], now: float) -> None:
        before, after = state.ring.fingerprint, ring.fingerprint
        if after != before:
            text = f"pool {state.name} has ring {after} in place of {before}"
            self._events.emit("ring", text, pool=state.name, before=before, after=after)
        self.pools.place(state, ring, weights, now)
