"""Act on health: eject outliers, publish the availability of backends, and report changes."""

import logging

import trio

from balancer.control.events import Events
from balancer.control.pool_state import PoolState
from balancer.control.pools import Pools
from balancer.control.worker_registry import WorkerRegistry
from balancer.health.outliers import Outcome, Outliers
from balancer.health.results import Verdict

logger = logging.getLogger("balancer.health")

_INSTEAD: dict[Outcome, str] = {
    "dry_run": "would be ejected, were it not for the dry run: ",
    "limit": "not ejected, for too many others are out (max_ejected): ",
}


class OutlierMonitor:
    """Checks all pools when ``look`` is called, about every half second."""

    def __init__(self, pools: Pools, registry: WorkerRegistry, events: Events) -> None:
        self._pools = pools
        self._registry = registry
        self._events = events
        self._panics: set[str] = set()
        self._outliers: dict[str, Outliers] = {}

    def look(self) -> None:
        """Do what is due."""
        for name, pool_state in self._pools.states.items():
            if pool_state.config.health.passive.mode != "off":
                self._judge_traffic(name, pool_state)
            for backend in pool_state.health:
                self.tell(pool_state, backend)
            if pool_state.panic != (name in self._panics):
                self._note_panic(name, panic=pool_state.panic)

    def _judge_traffic(self, name: str, pool_state: PoolState) -> None:
        now, backends = trio.current_time(), pool_state.backends
        for backend in backends.keys() - pool_state.health.keys():
            pool_state.begin_health(backend).restore(Verdict.UP, now, "not probed")
        for backend in pool_state.health.keys() - backends.keys():
            del pool_state.health[backend]
        outliers = self._outliers.setdefault(name, Outliers(pool_state.config.health))
        outliers.config = pool_state.config.health
        tallies = {each.name: each.take_tally() for each in backends.values()}
        for found in outliers.look(tallies, pool_state.health, now):
            if found.outcome != "ejected":  # ``tell`` reports that
                self._say(pool_state, found.backend, _INSTEAD[found.outcome] + found.why, logging.WARNING)

    def tell(self, pool_state: PoolState, name: str) -> None:
        """Publish the availability of a backend if it has changed."""
        availability = pool_state.health[name].stand(now := trio.current_time())
        backend = pool_state.backends.get(name)
        if backend is None or availability == backend.availability:
            return
        before = backend.availability.ejected
        pool_state.update_availability({name: availability})
        self._registry.publish()
        if availability.ejected and availability.ejected != before:
            left = pool_state.health[name].ejection.until - now
            self._say(pool_state, name, f"{availability.ejected}; no new users for {left:.0f} s", logging.WARNING)
        elif before and not availability.out:
            self._say(pool_state, name, "takes new users again", logging.INFO)

    def _say(self, pool_state: PoolState, backend: str, said: str, level: int) -> None:
        pool = pool_state.config.name
        logger.log(level, "backend %s of pool %s: %s", backend, pool, said)
        availability = pool_state.backends[backend].availability
        facts = {"down": availability.down, "ejected": availability.ejected or None}
        self._events.emit("health", f"{backend}: {said}", pool=pool, backend=backend, **facts)

    def _note_panic(self, pool: str, *, panic: bool) -> None:
        pool_state = self._pools.states[pool]
        (self._panics.add if panic else self._panics.discard)(pool)
        healthy, threshold = pool_state.healthy, pool_state.config.panic_threshold()
        if panic:
            said = f"panic: {healthy:.0%} of the pool is healthy, less than {threshold:.0%}, so health is ignored"
        else:
            said = f"the panic is over: {healthy:.0%} of the pool is healthy"
        logger.log(logging.ERROR if panic else logging.WARNING, "pool %s: %s", pool, said)
        self._events.emit("panic", f"{pool}: {said}", pool=pool, panic=panic, healthy=healthy)
