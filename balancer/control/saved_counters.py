"""Counters that outlive a control process: no counter ever goes back because one has died."""

import logging
from collections import Counter

import msgspec

from balancer.control.evictions import Evictions
from balancer.control.placement_controller import PlacementController
from balancer.control.worker_registry import WorkerRegistry
from balancer.health.tracker import Checks
from balancer.pool.counts import Counts

logger = logging.getLogger("balancer.state")

FORMAT = 1
"""Of the saved form."""


class WorkerCounters(msgspec.Struct):
    """What one worker had counted."""

    number: int
    pid: int
    counters: Counts


class SavedChecks(msgspec.Struct):
    """What had been counted of a backend's health checks."""

    passed: int
    failed: int
    changes: int
    ejections: dict[str, int]


class SavedCounters(msgspec.Struct):
    """What workers have counted, and what control has."""

    format: int = FORMAT
    workers: list[WorkerCounters] = []
    checks: dict[str, dict[str, SavedChecks]] = {}
    """By pool and backend."""
    settled: int = 0
    """Users sent home."""


def dump(registry: WorkerRegistry, controller: PlacementController, evictions: Evictions) -> bytes:
    """Return all counters of this moment in the saved form."""
    saved = SavedCounters(
        workers=[WorkerCounters(number, pid, counted) for (number, pid), counted in registry.counted.items()],
        checks={
            pool: {
                name: SavedChecks(each.passed, each.failed, each.changes, dict(each.ejections))
                for name, each in pool_state.checks.items()
            }
            for pool, pool_state in controller.pool_states.items()
        },
        settled=evictions.settled,
    )
    return msgspec.msgpack.encode(saved)


def load(data: bytes | None) -> SavedCounters:
    """Return what ``dump`` saved; counters from zero, with a message, if that cannot be read."""
    if data is not None:
        try:
            saved = msgspec.msgpack.decode(data, type=SavedCounters)
        except msgspec.MsgspecError as error:
            logger.error("saved counters cannot be read and begin at zero: %s", error)
        else:
            if saved.format == FORMAT:
                return saved
            logger.error("saved counters have format %d, and begin at zero", saved.format)
    return SavedCounters()


def restore(saved: SavedCounters, controller: PlacementController, evictions: Evictions) -> None:
    """Have control count on from ``saved``; the workers' part is for the ``WorkerRegistry``."""
    for name, pool_state in controller.pool_states.items():
        for backend, each in saved.checks.get(name, {}).items():
            pool_state.checks[backend] = Checks(each.passed, each.failed, each.changes, Counter(each.ejections))
    evictions.settled = saved.settled
