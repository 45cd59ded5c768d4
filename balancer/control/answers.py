"""What the admin API answers, as types: its description is made from them, and the tests hold every answer to them."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, with_config

from balancer.control.log_level import Level
from balancer.ring.overlay import Change, Pin, State

T = TypeVar("T")


@dataclass_transform()
def answer(kind: type[T]) -> type[T]:
    """A type of which no value is ever made; the texts below its fields are part of the description."""
    return with_config(ConfigDict(use_attribute_docstrings=True))(dataclass(init=False, repr=False, eq=False)(kind))


@answer
class Error:
    """Why nothing was done."""

    error: str
    """What was wrong, and what to do; never with a token in it."""


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
class Histogram:
    """How often something took how long."""

    buckets: dict[str, int]
    """By the longest time in seconds: all that took no longer."""
    sum: float
    """Of all times, in seconds."""


@answer
class Ramp:
    """A weight on its way."""

    start: Annotated[float, Field(alias="from")]
    to: float
    over: float
    """Seconds from one to the other."""
    left: float
    """Seconds that are left of them."""
    paused: bool


@answer
class Health:
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
class Backend:
    """One backend: what was decided about it, how it is, what it has served since the start."""

    name: str
    address: str
    state: State
    backup: bool
    state_since: float | None
    """Unix time."""
    up: bool
    """As far as is known."""
    why_down: str | None
    health: Health | None
    """Null if it is not probed."""
    takes_new: bool
    """Would a new user be placed there now?"""
    weight: float
    """In force."""
    configured_weight: float | None
    """Null for one that was added live."""
    ramp: Ramp | None
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
class Pool:
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
    request_seconds: Histogram


@answer
class PoolWithBackends(Pool):
    """A pool and its backends."""

    backend: list[Backend]


@answer
class Listener:
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
class LastReload:
    """How a reload went."""

    time: float
    who: str
    ok: bool
    problems: list[str]


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
    loop_lag: Histogram
    """How late the data plane's tasks get their turn."""
    log_lines_dropped: int
    listeners: dict[str, Listener]
    processes: list[dict[str, Any]]
    """Control and workers, as the supervisor knows them."""
    workers: list[WorkerFacts]
    generation: int
    """Of the configuration: how often it has changed since the start, counted from 1."""
    since: float
    """Unix time of the last change."""
    last_reload: LastReload | None
    state_kept: bool
    """Do changes outlive the daemon?"""
    pools: list[PoolWithBackends]


@answer
class Pools:
    """All pools."""

    pools: list[Pool]


@answer
class Backends:
    """The backends of a pool."""

    pool: str
    backends: list[Backend]


@answer
class Made:
    """A change, as the journal has it."""

    pool: str
    seq: int
    """Number of the entry in the journal."""
    who: str
    before: str
    """Fingerprint of the ring."""
    after: str
    version: str
    """Of the pool, for ``If-Match``."""


@answer
class BackendChanged(Made):
    """A change of a backend, and how it is now."""

    backend: Backend


@answer
class Pinned(Made):
    """A pin that was made."""

    digest: str
    prefix: int | None
    """Length in bytes of the beginning that is pinned; null for a whole token."""
    until: float | None
    """Unix time; null if it does not end by itself."""


@answer
class Unpinned(Made):
    """A pin that was taken away."""

    digest: str
    prefix: int | None


@answer
class Digest:
    """What a token is known by."""

    digest: str
    prefix: int | None
    """Length in bytes of the beginning that was digested; null for a whole token."""


@answer
class Pins:
    """The pins of a pool."""

    pool: str
    pins: list[Pin]


@answer
class Load:
    """A backend's share of all tokens in relation to the share its weight stands for: 1 is fair."""

    backend: str
    of_fair: float


@answer
class Loss(Load):
    """The worst that the loss of one backend can do: the load of its heir."""

    lost: str


@answer
class Side:
    """A ring in numbers."""

    fingerprint: str
    weights: dict[str, float]
    shares: dict[str, float]
    fullest: Load
    worst_loss: Loss | None
    """Null with a single backend."""


@answer
class Ring(Side):
    """The ring in force."""

    pool: str
    algorithm: str
    points: dict[str, int]
    balance: str
    """How even it is, in words."""


@answer
class Candidate:
    """A backend in a token's order."""

    backend: str
    skipped: str | None
    """Why it is passed over, if it is."""


@answer
class Live:
    """Where a user is connected."""

    place: str
    tunnels: int


@answer
class Explanation:
    """Where a token goes, or went, and why."""

    pool: str
    fingerprint: str
    position: str
    """The token's hash."""
    point: str
    """The end of its owner's arc, or what stands for it."""
    owner: str
    candidates: list[Candidate]
    members: int
    """Backends on the ring."""
    rule: str | None
    """What overrides the ring, in words."""
    placed: str | None
    if_lost: str | None
    """Where the token goes if that backend is lost."""
    digest: str


@answer
class ExplanationNow(Explanation):
    """Where a token goes."""

    live: Live | None
    """Null for a user who is not connected."""


@answer
class ExplanationThen(Explanation):
    """Where a token went."""

    at: float
    """Unix time."""


@answer
class Move:
    """A share of all tokens that changes hands."""

    source: Annotated[str, Field(alias="from")]
    to: str
    share: float
    needless: bool
    """No change of weights asks for it."""


@answer
class UserMove:
    """Connected users who would belong elsewhere."""

    source: Annotated[str, Field(alias="from")]
    to: str
    users: int


@answer
class PlanUsers:
    """Whom of the connected users a plan concerns; they stay where they are while connected."""

    connected: int
    moving: int
    tunnels: int
    moves: list[UserMove]


@answer
class Plan:
    """What a change would do; nothing has been changed."""

    pool: str
    id: str
    moved: float
    """Share of all tokens."""
    needless: float
    exact: bool
    """Or counted with a sample."""
    sample: int
    standard_error: float
    moves: list[Move]
    before: Side
    after: Side
    based_on: str
    """Version of the pool."""
    changes: list[Change]
    users: PlanUsers


@answer
class Applied(Made):
    """A plan that is in force."""

    plan: str
    changes: list[Change]


@answer
class Settling:
    """How far sending strays home is."""

    rate: float
    """Users a second."""
    strays: int
    moved: int
    skipped: int
    """Left where they are, or gone."""
    done: bool


@answer
class SettlingNow:
    """Strays being sent home; null if nobody has asked for it."""

    settling: Settling | None


@answer
class Stray:
    """A user who is not where they belong."""

    digest: str
    place: str
    home: str
    tunnels: int


@answer
class Strays:
    """Users who are not where they belong."""

    pool: str
    count: int
    settling: Settling | None
    strays: list[Stray]


@answer
class Journal:
    """The newest entries of a pool's journal, oldest first."""

    pool: str
    kept: bool
    """Is there a state directory?"""
    count: int
    entries: list[dict[str, Any]]


@answer
class Trace:
    """A request header with which a client is told why it is placed where it is."""

    header: str
    value: str
    until: int
    """Unix time."""


@answer
class ReloadState:
    """The configuration in force, and the last reload."""

    generation: int
    since: float
    """Unix time."""
    last_reload: LastReload | None


@answer
class ConfigChange:
    """One thing that a reload changes."""

    kind: str
    key: str
    text: str


@answer
class ReloadUsers:
    """Whom of the connected users a reload concerns."""

    connected: int
    moving: int
    tunnels: int


@answer
class ReloadPlan:
    """What a reload does to a ring."""

    pool: str
    id: str
    moved: float
    needless: float
    exact: bool
    sample: int
    standard_error: float
    moves: list[Move]
    before: Side
    after: Side
    users: ReloadUsers


@answer
class Reloaded(ReloadState):
    """What a reload has changed, or would change."""

    dry_run: bool
    changes: list[ConfigChange]
    warnings: list[str]
    plans: list[ReloadPlan]


@answer
class ConfigInForce:
    """The configuration, without its secrets."""

    generation: int
    since: float
    config: dict[str, Any]


@answer
class CertificateFacts:
    """A certificate in force."""

    listener: str
    file: str
    names: list[str]
    not_before: float
    not_after: float
    days_left: float
    fingerprint: str


@answer
class Certificates:
    """Certificates in force."""

    certificates: list[CertificateFacts]


@answer
class SessionFacts:
    """An open tunnel."""

    session: str
    pool: str
    listener: str
    user: str | None
    """By digest."""
    backend: str
    client: str
    since: float
    bytes_in: int
    bytes_out: int


@answer
class Sessions:
    """Open tunnels, the oldest first."""

    count: int
    sessions: list[SessionFacts]


@answer
class SessionEnded:
    """A tunnel that was ended."""

    session: str
    ended: bool
