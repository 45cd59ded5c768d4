"""State of pools and their backends."""

from typing import Annotated, Literal

from pydantic import Field

from balancer.admin.responses.common import answer
from balancer.overlay.states import State


@answer
class HistogramView:
    """A histogram of durations."""

    buckets: dict[str, int]
    """Cumulative counts by upper bound in seconds."""
    sum: float
    """Sum of all durations in seconds."""


@answer
class RampView:
    """A gradual change of a weight."""

    start: Annotated[float, Field(alias="from")]
    to: float
    over: float
    """Duration of the change in seconds."""
    left: float
    """Seconds left."""
    paused: bool


@answer
class HealthView:
    """Health by probes, traffic and the host's agent."""

    state: Literal["unknown", "up", "down"]
    age: Annotated[float | None, Field(alias="for")]
    """Seconds since ``up`` last changed."""
    last: str
    """Result of the last probe."""
    seconds: float
    """Duration of the last probe in seconds."""
    passed: int
    """Probes passed since the start."""
    failed: int
    changes: int
    """Changes between up and down."""
    wish: Literal["degraded", "drain", "maint"] | None
    """State that the host's agent asks for."""
    percent: int
    """Percentage of its weight that the agent asks for."""
    ejected: str | None
    """Why it is ejected, if it is."""
    ejected_for: float | None
    """Seconds until the ejection ends."""
    ejections: dict[str, int]
    """Times its traffic showed it to be an outlier: ``ejected``, counted in a ``dry_run``, left in by the ``limit``."""
    points: float
    """Share of its ring points that slow start gives it now."""
    same_hash: bool
    """It is a balancer that places tokens by the hash and seed of this pool, so that it uses few of its hosts."""


@answer
class BackendView:
    """A backend: its configuration, state, health and counters since the start."""

    name: str
    address: str
    """Empty for a removed one whose address is not known any more."""
    state: State | Literal["removed"]
    """Removed backends are listed while tunnels or requests are left on them."""
    backup: bool
    state_since: float | None
    """Unix time."""
    cut_at: float | None
    """Unix time at which the tunnels left on a backend that drains, is in maint or was removed are closed; null for
    never."""
    cut_in: float | None
    """Seconds until then."""
    up: bool
    """Whether it is up; true if unknown."""
    why_down: str | None
    health: HealthView | None
    """Null without health checks."""
    takes_new: bool
    """Whether it takes new users now."""
    weight: float
    """Active weight."""
    configured_weight: float | None
    """Null for a backend added at run time."""
    ramp: RampView | None
    share: float | None
    """Share of all tokens on the ring; null until counted."""
    users: int
    """Users with open tunnels."""
    tunnels: int
    sessions: int
    """Open tunnels and requests in flight."""
    max_connections: int | None
    """Limit of ``sessions``; null without a limit."""
    queued: int
    """Requests queued for it."""
    full: int
    """Requests that the queue refused or timed out."""
    requests: int
    connects: int
    """Connection attempts; failed ones are in ``connect_errors``."""
    connect_errors: int
    response_errors: int
    """Requests without a valid response."""
    bytes_sent: int
    """Bytes sent to the backend."""
    bytes_received: int


@answer
class PoolView:
    """A pool."""

    name: str
    version: str
    """Version of the pool, for ``If-Match``."""
    algorithm: str
    fingerprint: str
    """Fingerprint of the active ring."""
    backends: int
    healthy: float
    """Healthy share of the weight."""
    panic: bool
    """Health is ignored because too few backends are healthy."""
    available: int
    """Backends that take new users."""
    users: int
    tunnels: int
    pins: int
    strays: int | None
    """Users on another backend than the ring says; null until counted."""
    decisions: dict[str, int]
    """Requests and connections placed since the start, by the rule that decided."""
    retries: int
    """Retries of requests."""
    retries_given_up: dict[Literal["count", "time", "budget"], int]
    """Requests that failed because a limit allowed no retry, by limit."""
    refused_by_rate: int
    """Requests refused by ``limits.token_rate``."""
    requests: dict[str, int]
    """Requests since the start, by status class."""
    request_seconds: HistogramView


@answer
class UnfiledView:
    """What an operator decided about a backend, and the configuration file does not say."""

    pool: str
    backend: str
    text: str
    """Such as ``ide-06 is not in the file, added by root on 2026-11-30 03:00:00 UTC``."""
    who: str | None
    """Null if it is not known, as is ``since``."""
    since: float | None
    """Unix time."""


@answer
class PoolWithBackends(PoolView):
    """A pool and its backends."""

    backend: list[BackendView]
    not_in_file: list[UnfiledView]


@answer
class PoolsView:
    """All pools."""

    pools: list[PoolView]


@answer
class Backends:
    """The backends of a pool."""

    pool: str
    backends: list[BackendView]
    not_in_file: list[UnfiledView]
