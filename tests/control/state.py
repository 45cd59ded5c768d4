"""What the tests of the operators' state share: configurations, a keeper on a clock that is moved by hand."""

import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio
import trio.testing

from balancer.admin.services import Services
from balancer.config import model
from balancer.control.active_config import ActiveConfig
from balancer.control.evictions import Evictions
from balancer.control.placement_controller import TICK, PlacementController
from balancer.control.plans import Plans
from balancer.control.reload import Reloader
from balancer.control.worker_registry import WorkerRegistry
from balancer.overlay.overlay import Pin
from balancer.pool.tracing import Passes
from balancer.store.journal import Journal

START = 1_700_000_000.0
TOKEN = b"a-token-that-must-stay-secret"


def config(weights=None, ring=None, pools=("ide",), health=None):
    """Pools of the same backends, with a listener."""
    weights = weights or {"a": 1.0, "b": 1.0, "c": 1.0}
    backends = tuple(
        model.Backend(name=name, address=f"10.0.{n // 250}.{n % 250 + 1}:4000", weight=weight)
        for n, (name, weight) in enumerate(weights.items())
    )
    settings = {"ring": model.Ring(**(ring or {})), "health": model.Health(**(health or {})), "backend": backends}
    return model.Config(
        listener=(model.Listener(name="ide", bind=("127.0.0.1:0",), pool=pools[0]),),
        pool=tuple(model.Pool(name=name, **settings) for name in pools),
    )


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


@asynccontextmanager
async def keeping(folder=None, settings=None):
    """A keeper of ``settings``; its journal is in ``folder``, or ends with it."""
    with tempfile.TemporaryDirectory() as spare, journal(folder or Path(spare)) as store:
        yield PlacementController(settings or config(), store, Wall())


def operating(controller, gauges):
    """What the admin API stands on, without workers."""
    active = ActiveConfig(1, START, config(), {}, {}, {}, {}, 0, "info")
    registry = WorkerRegistry(controller, active, {})
    evictions, plans = Evictions(controller, registry.end, trio.current_time, drain=1, spread=1), Plans(controller)
    reloader = Reloader(Path("/nonexistent"), controller, plans, registry, None, None, None)
    return Services(
        controller, evictions, plans, Passes(b"key"), registry, reloader, trio.current_time, gauges, lambda: None
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
