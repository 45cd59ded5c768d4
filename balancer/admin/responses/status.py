"""State of the daemon."""

from typing import Any, Literal

from balancer.admin.responses.common import answer
from balancer.admin.responses.pools import HistogramView, PoolWithBackends
from balancer.admin.responses.reload import LastReloadView
from balancer.admin.responses.upgrade import PreviousView, UpgradeView
from balancer.config.scalars import Level
from balancer.shared.log_loss import Loss


@answer
class Alive:
    """The process answers."""

    ok: bool


@answer
class Readiness:
    """Whether a new client would be served."""

    ready: bool
    why: str | None
    """Why the daemon is not ready."""
    asks_for: str | None
    """What it asks of the balancer in front of it, as in the header ``Balancer-Health``."""


@answer
class DrainView:
    """Whether the daemon asks for no new clients."""

    drain: bool


@answer
class LogLevel:
    """The log level."""

    level: Level


@answer
class ListenerView:
    """A listener and its counters since the start."""

    connections: int
    open: int
    """Open connections."""
    max_connections: int
    handshake_failures: int
    silent: int
    """Connections that ended without a byte, as probes do."""
    pool: str
    """Empty for one that redirects to https."""
    bind: list[str]


@answer
class WorkerFacts:
    """A worker process."""

    worker: int
    pid: int
    generation: int
    """Generation of its configuration."""
    agrees: bool
    """Whether it uses the active configuration and rings."""
    fingerprints: dict[str, str]
    """Fingerprints of its rings, by pool."""
    connections: int
    tunnels: int


@answer
class Status:
    """State of the whole daemon."""

    version: str
    build: Literal["compiled", "pure"]
    """Whether the data plane is compiled to machine code."""
    uptime: float
    """Seconds."""
    started: float
    """Unix time."""
    draining: bool
    """It is stopping."""
    lame: bool
    """It asks for no new clients (``balancer drain``), and serves those who come."""
    drains_at: float | None
    """Unix time at which the drain begins, once the daemon was told to stop."""
    closes_at: float | None
    """Unix time at which the connections that are left are closed, while it is stopping."""
    accepting: bool
    starved: bool
    """New connections are refused because memory is low."""
    connections: int
    max_connections: int
    refused_connections: dict[str, int]
    """Connections refused, by the limit that refused them."""
    crashes: int
    """Connections closed by an internal error."""
    loop_lag: HistogramView
    """Scheduling delay of data plane tasks."""
    log_lines_dropped: int
    log_lines_lost: dict[Loss, int]
    """The same by reason."""
    listeners: dict[str, ListenerView]
    processes: list[dict[str, Any]]
    """The control process and the workers, as the supervisor reports them."""
    workers: list[WorkerFacts]
    generation: int
    """Generation of the configuration, counted from 1."""
    since: float
    """Unix time of the last change."""
    last_reload: LastReloadView | None
    previous: list[PreviousView]
    """Previous versions that still have connections, the oldest first."""
    upgrade: UpgradeView
    """The last upgrade."""
    state_kept: bool
    """Whether changes survive a restart of the daemon."""
    removed_pools: dict[str, int]
    """Tunnels left on pools that were removed, by pool."""
    pools: list[PoolWithBackends]
