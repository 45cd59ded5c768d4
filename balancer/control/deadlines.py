"""How long tunnels may stay on backends that are drained, in maint or removed."""

from typing import Literal

from balancer.config.model import Config
from balancer.config.pool import PoolConfig
from balancer.control.pool_state import PoolState

CutAfter = float | Literal["never"]


def default_cut(config: Config, pool: PoolConfig) -> CutAfter:
    """Return after how many seconds the tunnels that are left are closed, unless an operator says otherwise."""
    return config.timeouts.drain if pool.drain is None else pool.drain


def cut_times(config: Config, pool_state: PoolState) -> dict[str, float | None]:
    """Return the Unix time at which the tunnels left on each such backend are closed; None for never."""
    default = default_cut(config, pool_state.config)
    begun: dict[str, tuple[float, CutAfter]] = {
        name: (change.since, default if change.cut_after is None else change.cut_after)
        for name, change in pool_state.overlay.states.items()
        if name in pool_state.backends
    }
    begun |= {name: (removed.since, default) for name, removed in pool_state.removed.items()}
    return {name: None if after == "never" else since + after for name, (since, after) in begun.items()}
