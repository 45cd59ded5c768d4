"""Active health checks: probe every backend at its own pace.

Some facts. One task for each backend sleeps between its probes; a semaphore bounds how many are under way, and the time
of a probe begins when it has its turn. Backends come and go with the placement: a look every half second finds the
new, and the task of one that is gone ends by itself. Nothing a backend does ends a task: what is wrong with its answer
is a failed probe, and so is a fault of our own, which is logged once with its traceback.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import trio

from balancer.config.scalars import Address, format_duration
from balancer.control.events import Events
from balancer.control.outlier_monitor import OutlierMonitor
from balancer.control.pool_state import BackendState, PoolState
from balancer.control.pools import Pools
from balancer.control.worker_registry import WorkerRegistry
from balancer.health.availability import AVAILABLE
from balancer.health.results import Result, Verdict
from balancer.health.tracker import HealthTracker, judged_by, probed, spread
from balancer.probes.agent import ask_agent
from balancer.probes.probe import Probe
from balancer.store.health_file import HealthFile, Known, Memory

logger = logging.getLogger("balancer.health")

AT_ONCE = 100
"""Probes running at the same time; each takes a file descriptor."""
FIRST_RESULTS_TIMEOUT = 5.0
"""Seconds to wait for the first result of every backend before accepting users without it."""
TICK = 0.5
"""Seconds between two checks for new backends and for consequences of health."""
WRITE_EVERY = 1.0
"""Seconds between two writes of the health file."""
FAULT = Result(False, "the probe crashed")


@dataclass(frozen=True)
class _Watch:
    """The probes of a backend."""

    pool: str
    pool_state: PoolState
    probe: Probe
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def over(self) -> bool:
        """Whether its tasks must end; results that arrive in the same turn of the loop are dropped."""
        return self.scope.cancel_called


class Prober:
    """Probes the backends of ``pools``; ``monitor`` acts on what follows.

    Results survive a restart in ``file``; ``random`` spreads the probes; ``wall`` returns Unix time.
    """

    def __init__(
        self,
        pools: Pools,
        registry: WorkerRegistry,
        monitor: OutlierMonitor,
        events: Events,
        file: HealthFile | None,
        random: Random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._pools = pools
        self._registry = registry
        self._events = events
        self._file = file
        self._random = random
        self._wall = wall
        self._probes: dict[str, Probe] = {}
        self._monitor = monitor
        self._watched: dict[BackendState, _Watch] = {}
        self._memory: Memory = {}
        self._slots = trio.Semaphore(AT_ONCE)
        self._judged = trio.Event()
        self._changed = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled; started once every backend has a result, or after ``FIRST_RESULTS_TIMEOUT``."""
        if self._file is not None:
            self._memory = await trio.to_thread.run_sync(self._file.read)
        async with trio.open_nursery() as nursery:
            self._watch_new(nursery)
            self._memory = {}
            self._note_judged()
            with trio.move_on_after(FIRST_RESULTS_TIMEOUT):
                await self._judged.wait()
            task_status.started()
            if self._file is not None:
                nursery.start_soon(self._keep, self._file)
            while True:
                await trio.sleep(TICK)
                self._watch_new(nursery)
                self._monitor.look()

    def _watch_new(self, nursery: trio.Nursery) -> None:
        """Start probing backends that are new or changed; stop probing those that are gone."""
        present: dict[BackendState, str] = {}
        for name, pool_state in self._pools.states.items():
            if pool_state.config.health.type == "off":
                continue
            config, tls = pool_state.config, self._registry.active.files.probe_tls.get(name)
            known = self._probes.get(name)
            if known is None or (known.config is not config and known.config != config) or known.tls != tls:
                self._probes[name] = Probe(config, tls)
            names = probed(pool_state.config, pool_state.backends)
            present |= {pool_state.backends[each]: name for each in names}
        for backend in self._watched.keys() - present.keys():  # first: another of the same name may be there by now
            watch = self._watched.pop(backend)
            watch.scope.cancel()
            watch.pool_state.health.pop(backend.name, None)
            watch.pool_state.update_availability({backend.name: AVAILABLE})
        new = {name for name in present.values() if not self._pools.states[name].checks}
        for backend, name in present.items():
            former = self._watched.get(backend)
            if former is None or former.probe is not self._probes[name]:
                if former is not None:
                    former.scope.cancel()
                watch = _Watch(name, self._pools.states[name], self._probes[name])
                self._begin(nursery, watch, backend, outage=name in new)

    def _begin(self, nursery: trio.Nursery, watch: "_Watch", backend: BackendState, *, outage: bool) -> None:
        pool_state, health = watch.pool_state, watch.pool_state.health.get(backend.name)
        if health is None:
            health = pool_state.begin_health(backend.name, outage=outage)
            self._remember(watch, backend, health)
        else:
            health.configure(judged_by(pool_state.config, backend.name))
        self._watched[backend] = watch
        self._monitor.tell(pool_state, backend.name)
        nursery.start_soon(self._attend, watch, backend, health)

    def _remember(self, watch: "_Watch", backend: BackendState, health: HealthTracker) -> None:
        """Start from the health file, if the backend's address is unchanged."""
        known = self._memory.get(watch.pool, {}).get(backend.name)
        if known is not None and known.address == backend.address:
            now = trio.current_time()
            health.restore(known.state, min(now, now + known.since - self._wall()), known.text)

    async def _attend(self, watch: "_Watch", backend: BackendState, health: HealthTracker) -> None:
        port = watch.pool_state.config.health.agent.port
        with watch.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, watch, backend, health)
                if port is not None and not backend.address.path:
                    nursery.start_soon(self._listen, watch, backend, health, port)

    async def _watch(self, watch: "_Watch", backend: BackendState, health: HealthTracker) -> None:
        while True:
            async with self._slots:
                began = trio.current_time()
                result = await self._probe(watch.probe, watch.pool, backend, health)
            if result is not None and not watch.over:
                self._note(watch.pool, watch.pool_state, backend, health, result, trio.current_time() - began)
            await trio.sleep_until(began + health.delay(self._random))

    async def _probe(self, probe: Probe, pool: str, backend: BackendState, health: HealthTracker) -> Result | None:
        try:
            return await probe.run(backend.name, backend.address)
        except Exception:
            if health.text != FAULT.text:
                logger.exception("the probe of backend %s of pool %s crashed", backend.name, pool)
            return FAULT

    def _note(
        self,
        pool: str,
        pool_state: PoolState,
        backend: BackendState,
        health: HealthTracker,
        result: Result,
        seconds: float,
    ) -> None:
        now, former, since = trio.current_time(), health.state, health.since
        asked = health.requested_state, health.weight_percent
        about = {"pool": pool, "backend": backend.name}
        logger.debug("backend %s of pool %s: %.3f s: %s", backend.name, pool, seconds, result.text, extra=about)
        if health.observe(result, now, seconds):
            level = logging.WARNING if health.state is Verdict.DOWN else logging.INFO
            spent = f" ({former} for {format_duration(now - since)})" if since is not None else ""
            change = f"{former} -> {health.state}: {result.text}{spent}"
            logger.log(level, "backend %s of pool %s: %s", backend.name, pool, change, extra=about)
            self._tell(pool, backend, health, change)
            self._changed.set()
            if former is Verdict.UNKNOWN:
                self._note_judged()
        self._monitor.tell(pool_state, backend.name)
        if (health.requested_state, health.weight_percent) != asked:
            share = f"{health.weight_percent}% of its weight" if health.weight_percent < 100 else ""
            said = f"asks for: {health.requested_state or share or 'nothing any more'}"
            logger.info("backend %s of pool %s %s", backend.name, pool, said, extra=about)
            self._tell(pool, backend, health, said)

    def _tell(self, pool: str, backend: BackendState, health: HealthTracker, said: str) -> None:
        down = health.down
        facts = {
            "state": health.state,
            "wish": health.requested_state or None,
            "percent": health.weight_percent,
            "down": down,
        }
        self._events.emit("health", f"{backend.name}: {said}", pool=pool, backend=backend.name, **facts)

    def _note_judged(self) -> None:
        known = [health for pool_state in self._pools.states.values() for health in pool_state.health.values()]
        if all(health.state is not Verdict.UNKNOWN for health in known):
            self._judged.set()

    async def _listen(self, watch: "_Watch", backend: BackendState, health: HealthTracker, port: int) -> None:
        pool, settings = watch.pool, watch.pool_state.config.health
        first = True
        while True:
            began = trio.current_time()
            try:
                async with self._slots:
                    report = await ask_agent(Address(backend.address.host, port), settings.timeout)
            except Exception:
                logger.exception("asking the agent of backend %s of pool %s crashed: no more of it", backend.name, pool)
                return
            if report is not None and not watch.over:
                before = (health.requested_state, health.weight_percent, health.agent_down)
                health.heed(report)
                self._monitor.tell(watch.pool_state, backend.name)
                if before != (health.requested_state, health.weight_percent, health.agent_down):
                    percent, works = health.weight_percent, "down" if health.agent_down else "up"
                    words = f"{percent}% {health.requested_state or 'ready'} {works}"
                    logger.info("backend %s of pool %s: its agent says %s", backend.name, pool, words)
                    self._tell(pool, backend, health, f"its agent says {words}")
            wait = spread(settings.agent.interval, settings.jitter, self._random, first=first)
            await trio.sleep_until(began + wait)
            first = False

    async def _keep(self, file: HealthFile) -> None:
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            await trio.to_thread.run_sync(file.write, self._known())
            await trio.sleep(WRITE_EVERY)

    def _known(self) -> dict[str, dict[str, Known]]:
        lag = self._wall() - trio.current_time()
        return {
            name: {
                backend.name: Known(
                    state=health.state, since=health.since + lag, address=backend.address, text=health.text
                )
                for backend in pool_state.backends.values()
                if (health := pool_state.health.get(backend.name)) is not None and health.since is not None
            }
            for name, pool_state in self._pools.states.items()
        }
