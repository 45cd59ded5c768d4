"""Move users on purpose: at the end of a drain, off a failed backend, or home, at a limited rate.

A user is moved as a whole: all tunnels on a backend are ended together and the lease with them, so that the tabs come
back together, somewhere else. Without an operator, users are moved only when a drain's time is up, or off a backend
that is down if ``on_down = "close"``.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import trio

from balancer.control.deadlines import cut_times
from balancer.control.events import Events
from balancer.control.pool_state import PoolState
from balancer.control.pools import Pools
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import Refused
from balancer.pool.leases import Lease

logger = logging.getLogger("balancer.movers")

CHUNK = 200
"""Users handled before other tasks get a turn."""
TICK = 0.5
"""Seconds between two checks of which backends must be emptied."""


@dataclass(frozen=True)
class Stray:
    """A user with open tunnels on another backend than the ring and its overlay say."""

    digest: str
    place: str
    home: str
    tunnels: int


@dataclass
class Settling:
    """Strays being moved home."""

    rate: float
    """Users per second."""
    strays: int
    """Users to move home."""
    moved: int = 0
    """Users moved home so far."""
    skipped: int = 0
    """Users not moved: their home is not available, or they have left."""
    done: bool = False
    """Whether it is complete or was stopped."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Evictions:
    """Ends tunnels of the workers in ``registry``; ``wall`` returns Unix time."""

    def __init__(self, pools: Pools, registry: WorkerRegistry, events: Events, wall: Callable[[], float]) -> None:
        self._pools = pools
        self._registry = registry
        self._events = events
        self._wall = wall
        self._settling: dict[str, Settling] = {}
        self._closing: set[tuple[str, str]] = set()
        self._drained: dict[str, set[str]] = {}
        self.settled = 0
        """Users moved home since the start."""

    async def run(self) -> None:
        """Empty the backends that must be empty, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(TICK)
                for name, pool_state in self._pools.states.items():
                    self._note_drained(name, pool_state)
                for name, pool_state in {**self._pools.removed, **self._pools.states}.items():
                    for backend, why in self._to_empty(pool_state).items():
                        if (name, backend) not in self._closing:
                            self._closing.add((name, backend))
                            nursery.start_soon(self._empty, pool_state, name, backend, why)

    async def strays(self, pool: str) -> list[Stray]:
        """Return the strays of a pool."""
        pool_state = self._pools.get(pool)
        return [
            Stray(self._pools.digest(lease.token), lease.place, home, len(lease.sessions))
            for lease, home in await self._astray(pool_state)
        ]

    async def count_strays(self, pool: str) -> int:
        """Count the strays of a pool."""
        return len(await self._astray(self._pools.get(pool)))

    async def settle(
        self, pool: str, rate: float, *, task_status: trio.TaskStatus[Settling] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Move the strays of a pool home, ``rate`` users per second. A second call replaces the first."""
        if not 0 < rate <= 1000:
            raise Refused("a rate lies above 0 and at most 1000 users a second")
        pool_state = self._pools.get(pool)
        tokens = [lease.token for lease, _ in await self._astray(pool_state)]
        self.stop_settling(pool)
        work = self._settling[pool] = Settling(rate, len(tokens))
        task_status.started(work)
        try:
            with work.scope:
                for token in tokens:
                    if self._send_home(pool_state, token):
                        work.moved += 1
                        self.settled += 1
                        await trio.sleep(1 / rate)
                    else:
                        work.skipped += 1
        except Exception:  # the request was answered before: only the log can tell
            logger.exception("settling the strays of %s failed", pool)
        finally:
            work.done = True

    def settling(self, pool: str) -> Settling | None:
        """Return the progress of the last ``settle`` of a pool."""
        return self._settling.get(pool)

    def stop_settling(self, pool: str) -> None:
        """Stop moving strays home."""
        work = self._settling.get(pool)
        if work is not None:
            work.scope.cancel()

    async def _astray(self, pool_state: PoolState) -> list[tuple[Lease, str]]:
        found = []
        for number, lease in enumerate(pool_state.leases.live()):
            if number % CHUNK == CHUNK - 1:
                await trio.lowlevel.checkpoint()
            home = pool_state.placement.home(lease.token)
            if home != lease.place:
                found.append((lease, home))
        return found

    def _send_home(self, pool_state: PoolState, token: bytes) -> bool:
        """Move a user who is still a stray, if their home is available."""
        now = trio.current_time()
        lease = pool_state.leases.get(token, now)
        home = pool_state.placement.home(token)
        if lease is None or lease.place == home or pool_state.placement.refuses(home, lease):
            return False
        if pool_state.left_out(pool_state.backends[home], lease, now):
            return False
        return self._move(pool_state, lease, set(lease.sessions.values()) - {home}, f"settled: belongs on {home}")

    def _note_drained(self, pool: str, pool_state: PoolState) -> None:
        """Emit an event, once, when a backend has been emptied."""
        left = {name for name in pool_state.overlay.states if name in pool_state.backends}
        drained = {name for name in left if not pool_state.backends[name].counts.active}
        for name in sorted(drained - self._drained.get(pool, set())):
            self._events.emit("drained", f"{name} is drained: no users are left", pool=pool, backend=name)
        self._drained[pool] = drained

    def _to_empty(self, pool_state: PoolState) -> dict[str, str]:
        """Return the backends to empty, and why. In panic, backends that are down are not emptied."""
        now, states = self._wall(), pool_state.overlay.states
        times = cut_times(self._registry.active.config, pool_state)
        over = [name for name, at in times.items() if at is not None and at <= now]
        empty = {name: f"the drain of {name} is over" if name in states else f"{name} was removed" for name in over}
        if pool_state.config.health.on_down == "close" and not pool_state.panic:
            backends = pool_state.backends.values()
            down = [backend.name for backend in backends if backend.availability.down]
            if len(down) < len(backends):
                empty |= {name: f"{name} is down" for name in down}
        return empty

    async def _empty(self, pool_state: PoolState, pool: str, backend: str, why: str) -> None:
        """End the tunnels on a backend, user by user, over the spread; stop when there is no reason any more."""
        try:
            leases = []
            for number, lease in enumerate(pool_state.leases.live(), start=1):
                if number % CHUNK == 0:
                    await trio.lowlevel.checkpoint()
                if backend in lease.sessions.values():
                    leases.append(lease)
            tokenless = [session for session, place in pool_state.leases.without_token.items() if place == backend]
            left = len(leases) + len(tokenless)
            if left:
                logger.info("%s: %s; closing the tunnels of %d users", pool, why, left)
                self._events.emit("cut", f"{why}: closing the tunnels of {left} users", pool=pool, backend=backend)
            for each in (*leases, *tokenless):
                if backend not in self._to_empty(pool_state):
                    return
                if isinstance(each, Lease):
                    self._move(pool_state, each, {backend}, why)
                elif each in pool_state.leases.without_token:
                    self._registry.end(each, why)
                await trio.sleep(self._registry.active.config.timeouts.close_spread / left)
        finally:
            self._closing.discard((pool, backend))

    def _move(self, pool_state: PoolState, lease: Lease, backends: Collection[str], why: str) -> bool:
        sessions = pool_state.leases.leave(lease, backends)
        for session in sessions:
            self._registry.end(session, why)
        return bool(sessions)
