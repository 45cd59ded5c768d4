"""What only grows, as it outlives a control process: no counter ever goes back because one has died."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from balancer.control.evictions import Evictions
from balancer.control.placement_controller import PlacementController
from balancer.control.worker_registry import WorkerRegistry
from balancer.health.tracker import Checks
from balancer.pool.counts import Counts


@dataclass(frozen=True)
class Counted:
    """What workers have counted, and what control has."""

    workers: Mapping[tuple[int, int], Counts] = field(default_factory=dict)
    """By number and process."""
    checks: Mapping[str, Mapping[str, Checks]] = field(default_factory=dict)
    """By pool and backend."""
    settled: int = 0
    """Users sent home."""


def counted(fleet: WorkerRegistry, keeper: PlacementController, movers: Evictions) -> Counted:
    """All of it at this moment."""
    return Counted(fleet.counted, {name: book.checks for name, book in keeper.books.items()}, movers.settled)


def count_on(former: Counted, keeper: PlacementController, movers: Evictions) -> None:
    """Have control go on where a former one was; the workers' part is for the ``WorkerRegistry``."""
    for name, book in keeper.books.items():
        book.checks.update(former.checks.get(name, {}))
    movers.settled = former.settled
