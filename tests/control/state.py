"""What the tests of the operators' state share: configurations, a keeper on a clock that is moved by hand."""

import os
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import trio
import trio.testing

from balancer.admin.services import Services
from balancer.config.contents import NamedFiles
from balancer.config.listener import ListenerConfig
from balancer.config.model import Config, TimeoutsConfig
from balancer.config.pool import BackendConfig, HealthConfig, PoolConfig, RingConfig
from balancer.control.activation import Activation
from balancer.control.active_config import ActiveConfig
from balancer.control.certificate_watch import CertificateWatch
from balancer.control.clock import Clock
from balancer.control.events import Events
from balancer.control.evictions import Evictions
from balancer.control.lifecycle import Lifecycle
from balancer.control.outlier_monitor import OutlierMonitor
from balancer.control.placement_controller import TICK, PlacementController
from balancer.control.plans import Plans
from balancer.control.pools import Pools
from balancer.control.prober import Prober
from balancer.control.reload import Reloader
from balancer.control.saved_counters import CounterFile
from balancer.control.worker_registry import WorkerRegistry
from balancer.overlay.overlay import Pin
from balancer.store.journal import Journal
from balancer.store.memory_file import MemoryFile
from balancer.upgrade.upgrader import Upgrader

START = 1_700_000_000.0
TOKEN = b"a-token-that-must-stay-secret"


def config(weights=None, ring=None, pools=("ide",), health=None):
    """Pools of the same backends, with a listener."""
    weights = weights or {"a": 1.0, "b": 1.0, "c": 1.0}
    backends = tuple(
        BackendConfig(name=name, address=f"10.0.{n // 250}.{n % 250 + 1}:4000", weight=weight)
        for n, (name, weight) in enumerate(weights.items())
    )
    settings = {
        "ring": RingConfig(**(ring or {})),
        "health": HealthConfig(**(health or {})),
        "backend": backends,
    }
    return Config(
        listener=(ListenerConfig(name="ide", bind=("127.0.0.1:0",), pool=pools[0]),),
        pool=tuple(PoolConfig(name=name, **settings) for name in pools),
    )


def journaled(where):
    """All entries of the pool "ide", in a journal or what is kept on it."""
    return getattr(where, "journal", where).newest("ide", 1 << 20)[0]


class Wall:
    """Unix time that goes with trio's clock, so that jumping one jumps both."""

    def __init__(self):
        self._zero = START - trio.current_time()

    def __call__(self):
        return self._zero + trio.current_time()


@contextmanager
def journal(folder):
    opened = Journal(folder)
    try:
        yield opened
    finally:
        opened.close()


class Kept:
    """What control keeps of its pools, without workers: on ``journal``, by the clock ``wall``."""

    def __init__(self, settings, journal, wall):
        self.journal, self.wall = journal, Clock(wall)
        wall = self.wall
        self.events = Events(wall)
        self.pools = Pools(settings, journal, wall)
        self.pool_states, self.pool_state, self.digest = self.pools.states, self.pools.get, self.pools.digest
        keys = {listener.name: () for listener in settings.listener}
        active = ActiveConfig(1, START, settings, NamedFiles(), keys, {}, 0, "info")
        self.registry = WorkerRegistry(self.pools.states, active, journal.key, {})
        self.controller = PlacementController(self.pools, self.registry, self.events, wall)
        self.change, self.reconfigure, self.alone = (
            self.controller.change,
            self.controller.reconfigure,
            self.controller.alone,
        )
        self.ring_of, self.run = self.controller.ring_of, self.controller.run
        self.monitor = OutlierMonitor(self.pools, self.registry, self.events)
        self.plans = Plans(self.pools, self.controller, wall)

    @property
    def seq(self):
        return self.pools.seq

    def evictions(self, end, drain=1.0, spread=1.0):
        """Evictions whose ends of tunnels ``end`` gets to know."""
        timeouts = TimeoutsConfig(drain=f"{drain}s", close_spread=f"{spread}s")
        active = self.registry.active
        self.registry.active = replace(active, config=active.config.model_copy(update={"timeouts": timeouts}))
        self.registry.end = end
        return Evictions(self.pools, self.registry, self.events, self.wall)

    def prober(self, file, random):
        return Prober(self.pools, self.registry, self.monitor, self.events, file, random, self.wall)


@asynccontextmanager
async def keeping(folder=None, settings=None):
    """A journal in ``folder``, or one that ends with it, and what is kept on it."""
    with tempfile.TemporaryDirectory() as spare, journal(folder or Path(spare)) as store:
        yield Kept(settings or config(), store, Wall())


def operating(kept):
    """What the admin API stands on, without workers."""
    evictions = Evictions(kept.pools, kept.registry, kept.events, kept.wall)
    lock = trio.Lock()
    activation = Activation(kept.registry, None, kept.events, "", Lifecycle())
    watch = CertificateWatch(kept.registry, activation, kept.events, lock)
    reloader = Reloader(
        Path("/nonexistent"),
        kept.controller,
        kept.plans,
        kept.registry,
        None,
        activation,
        watch,
        [],
        kept.events,
        lock,
    )
    memory, lifecycle = MemoryFile(os.memfd_create("test")), Lifecycle()
    return Services(
        pools=kept.pools,
        controller=kept.controller,
        registry=kept.registry,
        evictions=evictions,
        plans=kept.plans,
        reloader=reloader,
        upgrader=Upgrader(None, kept.pools, kept.registry, lifecycle, kept.events, lock),
        activation=activation,
        events=kept.events,
        lifecycle=lifecycle,
        counters=CounterFile(memory, kept.registry, kept.pools.states, evictions),
        wall=kept.wall,
    )


def pin(controller, token, backend, **more):
    return Pin(digest=controller.digest(token), backend=backend, **more)


async def until(condition):
    """Wait for a thread or the other process to do its work, on a clock that stands still."""
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit, "it never came"
        await trio.lowlevel.checkpoint()


async def ticks(clock, controller, condition, seconds=TICK):
    """Let ``seconds`` pass and the keeper do what they bring about."""
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)
    await until(condition)
