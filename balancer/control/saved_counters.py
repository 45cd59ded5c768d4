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


def counted(registry: WorkerRegistry, controller: PlacementController, evictions: Evictions) -> Counted:
    """All of it at this moment."""
    return Counted(
        registry.counted,
        {name: pool_state.checks for name, pool_state in controller.pool_states.items()},
        evictions.settled,
    )


def count_on(former: Counted, controller: PlacementController, evictions: Evictions) -> None:
    """Have control go on where a former one was; the workers' part is for the ``WorkerRegistry``."""
    for name, pool_state in controller.pool_states.items():
        pool_state.checks.update(former.checks.get(name, {}))
    evictions.settled = former.settled
