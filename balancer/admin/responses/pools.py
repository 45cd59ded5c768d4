"""How pools and their backends are."""

from typing import Annotated, Literal

from pydantic import Field

from balancer.admin.responses.common import answer
from balancer.overlay.states import State


@answer
class HistogramView:
    """How often something took how long."""

    buckets: dict[str, int]
    """By the longest time in seconds: all that took no longer."""
    sum: float
    """Of all times, in seconds."""


@answer
class RampView:
    """A weight on its way."""

    start: Annotated[float, Field(alias="from")]
    to: float
    over: float
    """Seconds from one to the other."""
    left: float
    """Seconds that are left of them."""
    paused: bool


@answer
class HealthView:
    """What probes and traffic say, and the host's agent."""

    state: Literal["unknown", "up", "down"]
    age: Annotated[float | None, Field(alias="for")]
    """Seconds since it has been so."""
    last: str
    """What the last probe came to."""
    seconds: float
    """How long it took."""
    passed: int
    """Probes since the start; those that did not pass are ``failed``."""
    failed: int
    changes: int
    """Times it came up or went down."""
    wish: Literal["degraded", "drain", "maint"] | None
    """What the host asks for."""
    percent: int
    """Share of its weight that its agent asks for."""
    ejected: str | None
    """Why it takes no new users for a while, although it is up."""
    ejected_for: float | None
    """Seconds that are left of it."""
    ejections: dict[str, int]
    """Times its traffic showed it to be an outlier: ``ejected``, counted in a ``dry_run``, left in by the ``limit``."""
    points: float
    """Share of its points on the ring that a slow start gives it by now."""


@answer
class BackendView:
    """One backend: what was decided about it, how it is, what it has served since the start."""

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
    """As far as is known."""
    why_down: str | None
    health: HealthView | None
    """Null if it is not probed."""
    takes_new: bool
    """Would a new user be placed there now?"""
    weight: float
    """In force."""
    configured_weight: float | None
    """Null for one that was added live."""
    ramp: RampView | None
    share: float | None
    """Of all tokens, by the ring; null before it was counted."""
    users: int
    """With open tunnels."""
    tunnels: int
    sessions: int
    """Open tunnels, and requests in flight."""
    max_connections: int | None
    """Of them, so many at most; null if there is no limit."""
    queued: int
    """Requests that wait for a place there."""
    full: int
    """Requests that found none in time."""
    requests: int
    connects: int
    """Connections tried; those that failed are ``connect_errors``."""
    connect_errors: int
    response_errors: int
    """Requests that reached it and got no proper answer."""
    bytes_sent: int
    """To the backend."""
    bytes_received: int


@answer
class PoolView:
    """A pool in numbers."""

    name: str
    version: str
    """For ``If-Match``."""
    algorithm: str
    fingerprint: str
    """Of the ring in force."""
    backends: int
    healthy: float
    """Share of them that is healthy."""
    panic: bool
    """So few are healthy that health is ignored."""
    available: int
    """Backends that take new users."""
    users: int
    tunnels: int
    pins: int
    strays: int | None
    """Users who are not where they belong; null before they were counted."""
    decisions: dict[str, int]
    """Requests and connections placed since the start, by the rule that did."""
    retries: int
    """Tries of requests after their first."""
    retries_given_up: dict[Literal["count", "time", "budget"], int]
    """Requests that failed for want of a retry, by the limit that stood against it."""
    refused_by_rate: int
    """Requests of tokens with too many new connections."""
    requests: dict[str, int]
    """Requests since the start, by the class of their answers."""
    request_seconds: HistogramView


@answer
class PoolWithBackends(PoolView):
    """A pool and its backends."""

    backend: list[BackendView]


@answer
class PoolsView:
    """All pools."""

    pools: list[PoolView]


@answer
class Backends:
    """The backends of a pool."""

    pool: str
    backends: list[BackendView]
