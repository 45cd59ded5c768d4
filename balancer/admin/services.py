"""Everything the admin API stands on, put together once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from balancer.config.model import Config
from balancer.control.evictions import Evictions
from balancer.control.placement_controller import PlacementController
from balancer.control.plans import Plans
from balancer.control.reload import Reloader
from balancer.control.worker_registry import WorkerRegistry
from balancer.pool.tracing import Passes


@dataclass(frozen=True)
class Services:
    """What operators can see and change."""

    controller: PlacementController
    evictions: Evictions
    plans: Plans
    passes: Passes
    registry: WorkerRegistry
    reloader: Reloader
    now: Callable[[], float]
    """The clock of leases and health."""
    gauges: Callable[[], dict[str, Any]]
    """Numbers of the daemon that no pool has: see ``control.gauges``."""
    keep_counted: Callable[[], None]
    """Has what was counted up to now outlive this process."""

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.registry.active.config
