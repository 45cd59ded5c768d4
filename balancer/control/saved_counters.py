"""Save counters so that they survive the control process: no counter ever goes back."""

import logging
from collections import Counter
from collections.abc import Mapping

import msgspec
import trio

from balancer.control.evictions import Evictions
from balancer.control.pool_state import PoolState, RemovedBackend
from balancer.control.worker_registry import WorkerRegistry
from balancer.errors import Refused
from balancer.health.tracker import Checks
from balancer.pool.counts import Counts
from balancer.store.memory_file import MemoryFile

logger = logging.getLogger("balancer.state")

FORMAT = 1
"""Version of the saved form."""
SAVE_INTERVAL = 0.5
"""Seconds between two saves."""


class WorkerCounters(msgspec.Struct):
    """What one worker had counted."""

    number: int
    pid: int
    counters: Counts


class SavedChecks(msgspec.Struct):
    """Counters of a backend's health checks."""

    passed: int
    failed: int
    changes: int
    ejections: dict[str, int]
    outage: bool = False


class SavedCounters(msgspec.Struct):
    """Counters of workers and of control."""

    format: int = FORMAT
    workers: list[WorkerCounters] = []
    checks: dict[str, dict[str, SavedChecks]] = {}
    """By pool and backend."""
    settled: int = 0
    """Users sent home."""
    removed: dict[str, dict[str, tuple[str, float]]] = {}
    """Address and Unix time of the removal of backends on which something was left, by pool and backend."""


class CounterFile:
    """Saves the counters of all workers and of control in ``memory``, which belongs to the supervisor."""

    def __init__(
        self, memory: MemoryFile, registry: WorkerRegistry, pools: Mapping[str, PoolState], evictions: Evictions
    ) -> None:
        self._memory = memory
        self._registry = registry
        self._pools = pools
        self._evictions = evictions

    def save(self) -> None:
        """Save all counters now. A failure is logged; the next save may succeed."""
        saved = SavedCounters(
            workers=[WorkerCounters(number, pid, each) for (number, pid), each in self._registry.counted.items()],
            checks={
                name: {
                    backend: SavedChecks(each.passed, each.failed, each.changes, dict(each.ejections), each.outage)
                    for backend, each in pool.checks.items()
                }
                for name, pool in self._pools.items()
            },
            settled=self._evictions.settled,
            removed={
                name: {backend: (each.address, each.since) for backend, each in pool.removed.items()}
                for name, pool in self._pools.items()
            },
        )
        try:
            self._memory.save(msgspec.msgpack.encode(saved))
        except OSError as error:
            logger.error("counters cannot be saved: %s", error.strerror)

    async def run(self) -> None:
        """Save regularly, until cancelled."""
        while True:
            await trio.sleep(SAVE_INTERVAL)
            self.save()


def load(data: bytes | None) -> SavedCounters:
    """Return what was saved; counters from zero, with a message, if that cannot be read."""
    try:
        return read(data)
    except Refused as error:
        logger.error("%s, and begin at zero", error)
        return SavedCounters()


def read(data: bytes | None) -> SavedCounters:
    """Return what was saved. Raise ``Refused`` if this version cannot read it."""
    if data is None:
        return SavedCounters()
    try:
        saved = msgspec.msgpack.decode(data, type=SavedCounters)
    except msgspec.MsgspecError as error:
        raise Refused(f"saved counters cannot be read: {error}") from None
    if saved.format != FORMAT:
        raise Refused(f"saved counters have format {saved.format}; this version reads {FORMAT}")
    return saved


def restore(saved: SavedCounters, pools: Mapping[str, PoolState], evictions: Evictions) -> None:
    """Continue control's counters from ``saved``; the workers' part is for the ``WorkerRegistry``."""
    for name, pool_state in pools.items():
        for backend, each in saved.checks.get(name, {}).items():
            ejections = Counter(each.ejections)
            pool_state.checks[backend] = Checks(each.passed, each.failed, each.changes, ejections, each.outage)
        for backend, (address, since) in saved.removed.get(name, {}).items():
            if backend not in pool_state.backends:
                pool_state.removed[backend] = RemovedBackend(address, since)
    evictions.settled = saved.settled
