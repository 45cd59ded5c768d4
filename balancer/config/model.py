"""The configuration as types: the meaning, unit and default of each key.

Everything is frozen: a loaded configuration is a value, and a reload creates a new one. Durations are in seconds.
Loaded paths are absolute; in the file they may be relative to the file's directory.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from balancer.config.fields import AmountOfMemory, BackendAddress, Delay, Duration, File, LogTarget, Rate, Workers
from balancer.config.listener import ListenerConfig
from balancer.config.pool import PoolConfig
from balancer.config.scalars import AccessFormat, Facility, Level, LogFormat, Memory
from balancer.config.section import MAX_CONNECTIONS, Count, Section


class AdminConfig(Section):
    """The addresses of the admin API."""

    socket: File | None = None
    """Unix socket with full control; its file permissions decide who may connect."""
    listen: BackendAddress | None = None
    """TCP address of the same API."""
    health_listen: BackendAddress | None = None
    """TCP address that answers ``/healthz`` and ``/readyz`` only, such as for a balancer in front."""
    token_file: File | None = None
    """File with the bearer token for the TCP address; without it, TCP is read-only."""


class LogConfig(Section):
    """The access log and the messages on standard error."""

    access: LogTarget = "stdout"
    """Target of the access log: ``stdout``, ``off``, ``journal``, ``syslog``, ``syslog:ADDRESS`` or a file."""
    access_format: AccessFormat = "json"
    """JSON lines, one per request and two per tunnel; or the lines of ``haproxy``'s httplog, or ``combined``."""
    facility: Facility = "local0"
    """Of the lines for syslog."""
    level: Level = "info"
    format: LogFormat = "text"
    """Format of the messages; in the systemd journal they are entries with structured fields in any case."""


"""A number of connections; 0 is no limit."""


class LimitsConfig(Section):
    """Upper limits of the daemon, for all workers together."""

    max_connections: Annotated[int, Field(ge=1, le=MAX_CONNECTIONS)] = 20000
    """Client connections; further ones wait to be accepted."""
    max_connections_per_client: Count = 0
    """Connections of one client address (IPv6: of one /64); further ones are reset."""
    client_rate: Rate = 0.0
    """New connections of one client address per second; 0 is no limit. Further ones are reset."""
    client_burst: Annotated[int, Field(ge=1, le=MAX_CONNECTIONS)] = 50
    """New connections that one client address may open at once before ``client_rate`` applies."""
    max_handshakes: Count = 1000
    """TLS handshakes in progress; further clients wait to be accepted."""
    min_rate: Annotated[int, Field(ge=0, le=1 << 30)] = 240
    """Bytes per second at which a client must send a request body and read a response; 0 is no limit.

    It is the average over ``timeouts.idle`` and ``timeouts.send``, without the time the client had to wait for us.
    """
    memory: AmountOfMemory = Memory(share=0.75)
    """Memory of all the daemon's processes; above it new connections are reset, and open ones kept."""
    max_head_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 32768
    max_body_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Longer request bodies are rejected with 413; 0 is no limit."""


class TimeoutsConfig(Section):
    """Timeouts."""

    handshake: Duration = 10.0
    """For the PROXY header and the TLS handshake together."""
    head: Duration = 10.0
    """From the first byte of a request to the end of its head."""
    connect: Duration = 3.0
    """For one backend to accept a connection."""
    response: Duration = 60.0
    """From the end of the request to the first byte of the response, and between bytes of a body of known length."""
    idle: Duration = 60.0
    """Until the first request on a connection, and between bytes of a request body."""
    keep_alive: Duration | None = None
    """Between requests on a kept connection; the default is ``idle``."""
    send: Duration = 30.0
    """For a client or a backend to acknowledge more of what was sent to it; one that vanished acknowledges nothing."""
    tcp_keepalive: Duration = 60.0
    """Silence of a client or a backend after which it is probed; after three unanswered probes the connection ends."""
    tunnel_idle: Duration = 3600.0
    """Without a byte on a tunnel, or on a streamed response of unknown length."""
    lame: Delay = 0.0
    """How long the daemon, told to stop, first asks for no new clients (``/readyz``) and goes on as before."""
    drain: Duration = 600.0
    """How long open tunnels may stay after the daemon or their backend has begun to drain."""
    hang: Duration = 10.0
    """A worker or control process is killed and restarted after so long without a heartbeat, not counting time in which
    it waits for a processor."""
    close_spread: Duration = 30.0
    """Period over which tunnels left after a drain are closed, so that their clients do not all reconnect at once."""


class UpgradeConfig(Section):
    """Hot upgrades: a new version takes over, and workers of the one before keep their tunnels."""

    releases: File = Path("/opt/balancer/releases")
    """Folder of the releases that may be upgraded to; its link ``current`` is the default."""
    prove: Delay = 5.0
    """How long the new workers are watched before they accept clients; a failure goes back to the version before."""
    keep: Duration = 86400.0
    """How long workers of previous versions may keep their tunnels."""
    max_generations: Annotated[int, Field(ge=1, le=100)] = 3
    """Previous versions that may have tunnels at a time; further upgrades have to wait for one to end."""


class Config(Section):
    """The whole file."""

    workers: Workers = "auto"
    state_dir: File | None = None
    admin: AdminConfig = AdminConfig()
    key_file: File | None = None
    """Secret from which all keys are derived: 32 bytes or 64 hex digits; without it, one is made in ``state_dir``.

    A second line holds the previous secret, which is still accepted but no longer used for anything new.
    """
    log: LogConfig = LogConfig()
    limits: LimitsConfig = LimitsConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    upgrade: UpgradeConfig = UpgradeConfig()
    listener: Annotated[tuple[ListenerConfig, ...], Field(strict=False, min_length=1)]
    pool: Annotated[tuple[PoolConfig, ...], Field(strict=False, min_length=1)]
