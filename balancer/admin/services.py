"""What the admin API uses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from balancer.admin.daemon_gauges import daemon_gauges
from balancer.config.model import Config
from balancer.control.activation import Activation
from balancer.control.events import Events
from balancer.control.evictions import Evictions
from balancer.control.lifecycle import Lifecycle
from balancer.control.placement_controller import PlacementController
from balancer.control.plans import Plans
from balancer.control.pools import Pools
from balancer.control.reload import Reloader
from balancer.control.saved_counters import CounterFile
from balancer.control.worker_registry import WorkerRegistry
from balancer.upgrade.upgrader import Upgrader


@dataclass(frozen=True)
class Services:
    """What operators can see and change. ``wall`` tells Unix time."""

    pools: Pools
    controller: PlacementController
    registry: WorkerRegistry
    evictions: Evictions
    plans: Plans
    reloader: Reloader
    upgrader: Upgrader
    activation: Activation
    events: Events
    lifecycle: Lifecycle
    counters: CounterFile
    wall: Callable[[], float]

    @property
    def config(self) -> Config:
        """The active configuration."""
        return self.registry.active.config

    @property
    def persistent(self) -> bool:
        """Whether the state survives a restart of the daemon."""
        return self.config.state_dir is not None

    def gauges(self) -> dict[str, Any]:
        """Return gauges and counters of the whole daemon."""
        return daemon_gauges(self.lifecycle, self.registry)
