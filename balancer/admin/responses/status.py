"""How the daemon is."""

from typing import Any

from balancer.admin.responses.common import answer
from balancer.admin.responses.pools import HistogramView, PoolWithBackends
from balancer.admin.responses.reload import LastReloadView
from balancer.config.scalars import Level


@answer
class Alive:
    """The process answers."""

    ok: bool


@answer
class Readiness:
    """Would a new client be served?"""

    ready: bool
    why: str | None
    """Why not."""


@answer
class LogLevel:
    """The least serious messages that are written."""

    level: Level


@answer
class ListenerView:
    """A listener since the start."""

    connections: int
    open: int
    """Connections at present."""
    max_connections: int
    handshake_failures: int
    pool: str
    bind: list[str]


@answer
class WorkerFacts:
    """A process that carries traffic."""

    worker: int
    pid: int
    generation: int
    """Of the configuration it works by."""
    agrees: bool
    """It has the configuration and the rings that are in force."""
    fingerprints: dict[str, str]
    """Of its rings, by pool."""
    connections: int
    tunnels: int


@answer
class Status:
    """Everything at a glance."""

    version: str
    uptime: float
    """Seconds."""
    started: float
    """Unix time."""
    draining: bool
    accepting: bool
    starved: bool
    """New connections are refused for want of memory."""
    connections: int
    max_connections: int
    refused_connections: dict[str, int]
    """By the limit that refused them."""
    crashes: int
    """Connections ended by a fault of the balancer itself."""
    loop_lag: HistogramView
    """How late the data plane's tasks get their turn."""
    log_lines_dropped: int
    listeners: dict[str, ListenerView]
    processes: list[dict[str, Any]]
    """Control and workers, as the supervisor knows them."""
    workers: list[WorkerFacts]
    generation: int
    """Of the configuration: how often it has changed since the start, counted from 1."""
    since: float
    """Unix time of the last change."""
    last_reload: LastReloadView | None
    state_kept: bool
    """Do changes outlive the daemon?"""
    removed_pools: dict[str, int]
    """Tunnels that are left, by pool that is not configured any more."""
    pools: list[PoolWithBackends]
