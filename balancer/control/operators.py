"""Everything the admin API stands on, put together once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from balancer.config.model import Config
from balancer.control.keeper import Keeper
from balancer.control.movers import Movers
from balancer.control.plans import Plans
from balancer.pool.tracing import Passes


@dataclass(frozen=True)
class Operators:
    """What operators can see and change."""

    config: Config
    keeper: Keeper
    movers: Movers
    plans: Plans
    passes: Passes
    now: Callable[[], float]
    """The data plane's clock."""
    gauges: Callable[[], dict[str, Any]]
    """Numbers of the data plane that no pool has: see ``daemon.service``."""
