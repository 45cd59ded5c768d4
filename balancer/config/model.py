"""The configuration as types: the meaning, unit and default of each key.

Everything is frozen: a loaded configuration is a value, and a reload creates a new one. Durations are in seconds.
Loaded paths are absolute; in the file they may be relative to the file's directory.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from balancer.config.fields import (
    AmountOfMemory,
    BackendAddress,
    CutAfter,
    Delay,
    Duration,
    File,
    HostPattern,
    LogTarget,
    Network,
    Rate,
    Status,
    UrlPath,
    Workers,
    as_array,
)
from balancer.config.scalars import Level, LogFormat, Memory

T = TypeVar("T")
Array = Annotated[tuple[T, ...], Field(strict=False)]
"""A TOML array; strict mode would not convert the parser's list to a tuple."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
HttpToken = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")]
ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
Param = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]
Duplicates = Literal["refuse", "first", "last"]


class Section(BaseModel):
    """A table of the file: frozen, without unknown keys, without implicit type conversions.

    Validators are built on first use: the command line mostly needs only that of ``AdminConfig``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class AdminConfig(Section):
    """The addresses of the admin API."""

    socket: File | None = None
    """Unix socket with full control; its file permissions decide who may connect."""
    listen: BackendAddress | None = None
    """TCP address of the same API."""
    token_file: File | None = None
    """File with the bearer token for the TCP address; without it, TCP is read-only."""


class LogConfig(Section):
    """The access log and the messages on standard error."""

    access: LogTarget = "stdout"
    """Target of the access log: JSON lines, one per request and two per tunnel."""
    level: Level = "info"
    format: LogFormat = "text"
    """Format of the messages; in the systemd journal they are entries with structured fields in any case."""


MAX_CONNECTIONS = 1_000_000
Count = Annotated[int, Field(ge=0, le=MAX_CONNECTIONS)]
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
    """Between requests on a kept connection, and between bytes of a request body."""
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


class CertificateConfig(Section):
    """A certificate chain (PEM, leaf first) and its private key (PEM, no passphrase)."""

    cert: File
    key: File


class TlsConfig(Section):
    """TLS termination of a listener."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    certificates: Annotated[tuple[CertificateConfig, ...], Field(strict=False, min_length=1)]
    """The first is the default; SNI selects among all of them, exact names before wildcards."""


class RouteConfig(Section):
    """Sends matching requests, or in ``tcp`` mode connections, to another pool than the listener's.

    A route matches if each of ``host``, ``sni`` and path that is set has a matching value.
    """

    host: Array[HostPattern] = ()
    """Hosts of the request, without port, case-insensitive; a leading ``*.`` matches one or more labels."""
    path: Array[UrlPath] = ()
    """Whole paths without the query, compared byte for byte with the request's."""
    path_prefix: Array[UrlPath] = ()
    """Path prefixes, compared byte for byte like haproxy's ``path_beg``: ``/api`` matches ``/apis`` too."""
    sni: Array[HostPattern] = ()
    """Server names of the TLS handshake; same patterns as ``host``."""
    pool: Name


class ConditionConfig(Section):
    """Which requests are meant: those that match a value of each key that is set."""

    host: Array[HostPattern] = ()
    """Hosts of the request, as in ``listener.route``."""
    path: Array[UrlPath] = ()
    """Whole paths without the query."""
    path_prefix: Array[UrlPath] = ()
    """Beginnings of paths."""
    sni: Array[HostPattern] = ()
    """Server names of the TLS handshake; in ``tcp`` mode the only key beside ``client``."""
    method: Array[HttpToken] = ()
    """Methods, case-sensitive (RFC 9110, 9.1)."""
    query: Array[Param] = ()
    """Query parameters that are present, with or without a value."""
    header: dict[HttpToken, Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,256}$")] | Literal[True]] = {}
    """Header fields, each with the value it must have, or ``true`` if it only must be present."""
    client: Array[Network] = ()
    """Networks of the client's address, after a PROXY header."""


class RedirectConfig(Section):
    """Where a redirected client goes: ``location`` as it stands, or the same URL with parts replaced."""

    location: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,2048}$")] | None = None
    scheme: Literal["http", "https"] | None = None
    host: ServerName | None = None
    """Host, with or without a port; without it, the request's."""
    prefix: UrlPath | None = None
    """What is put before the path, the query included."""
    code: Literal[301, 302, 303, 307, 308] = 302


class AnswerConfig(Section):
    """A response of the balancer's own."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    type: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,128}$")] = "text/plain; charset=utf-8"
    text: Annotated[str, StringConstraints(max_length=65536)] = ""


class RuleConfig(ConditionConfig):
    """What happens to requests that match: exactly one of ``deny``, ``redirect``, ``answer`` and ``pool``."""

    unless: Annotated[tuple[ConditionConfig, ...], Field(strict=False, alias="not"), BeforeValidator(as_array)] = ()
    """Requests that do not match although the keys above do."""
    deny: Annotated[int, Field(ge=400, le=599)] | None = None
    """Refuse with this status; in ``tcp`` mode the connection is closed."""
    redirect: RedirectConfig | None = None
    answer: AnswerConfig | None = None
    pool: Name | None = None
    """Send them to this pool."""


class ListenerConfig(Section):
    """Addresses that clients connect to, and the pool behind them."""

    name: Name
    bind: Annotated[tuple[BackendAddress, ...], Field(strict=False, min_length=1)]
    mode: Literal["http", "tcp"] = "http"
    pool: Name
    key: Literal["client_ip", "sni"] = "client_ip"
    """What is hashed in ``tcp`` mode. ``sni`` without ``tls`` reads the ClientHello and forwards it."""
    proxy_protocol: Literal["off", "accept"] = "off"
    max_connections: Count = 0
    """Client connections of this listener; further ones wait to be accepted."""
    trusted: Array[Network] = ()
    """Networks whose PROXY header, ``X-Forwarded-*`` and ``X-Request-ID`` are trusted."""
    tls: TlsConfig | None = None
    rule: Array[RuleConfig] = ()
    """The first that matches decides; without a match requests go on to the routes."""
    route: Array[RouteConfig] = ()
    """The first that matches selects the pool; without a match it is ``pool``."""


class TokenPlaceConfig(Section):
    """A place that is searched for the token if the places before it have none."""

    source: Literal["query", "header", "cookie", "referer"]
    """``referer`` is the query of the page that sent the request, if that page is of the same host."""
    param: Param = "token"
    """``query``, ``referer``: name of the parameter, matched byte for byte."""
    header: HttpToken | None = None
    """``header``: name of the field, case-insensitive."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,64}$")] = ""
    """``header``: what comes before the token, in any case; values without it are not tokens."""
    cookie: HttpToken | None = None
    """``cookie``: name of the cookie, matched byte for byte."""
    duplicates: Duplicates | None = None
    """As in ``pool.token``; the default is the same as there."""


class TokenConfig(Section):
    """Where a request's token is, and what happens to requests without one."""

    source: Literal["query", "header", "cookie", "path", "uri", "client_ip"] = "query"
    """``path`` is the request target without its query (haproxy's ``balance uri``), ``uri`` the whole target."""
    param: Param = "token"
    """``query``: name of the parameter, matched byte for byte."""
    header: HttpToken | None = None
    """``header``: name of the field, case-insensitive."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,64}$")] = ""
    """``header``: what comes before the token, in any case; values without it are not tokens."""
    cookie: HttpToken | None = None
    """``cookie``: name of the cookie, matched byte for byte."""
    fallback: Array[TokenPlaceConfig] = ()
    """Places that are searched, in this order, for the token of requests that have none at ``source``."""
    remember: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "off"
    """Name of a cookie that holds the token from ``source``, encrypted, for requests without any; or ``off``."""
    remember_same_site: Literal["lax", "none"] = "lax"
    """``SameSite`` of that cookie; ``none`` is for pages in frames of other sites, and needs TLS."""
    depth: Annotated[int, Field(ge=0, le=1000)] = 0
    """``path``, ``uri``: number of leading path segments that count, as haproxy's ``depth``; 0 is all."""
    leading_bytes: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    """``path``, ``uri``: number of leading bytes that count, as haproxy's ``len``; 0 is all."""
    missing: Literal["reject", "client_ip", "spread"] = "reject"
    """``reject`` answers 400, ``client_ip`` hashes the client's address, ``spread`` rotates over the backends."""
    duplicates: Duplicates | None = None
    """Several values in one request: rejected with 400 if they differ, or the first or last one used.

    The default is ``refuse``, and ``first`` for cookies: browsers send several cookies of one name, the one of the
    longest path first. With ``first`` and ``last`` a header is a comma-separated list (RFC 9110, 5.3); with ``refuse``
    it is one value.
    """
    decode: bool | None = None
    """Percent-decode before hashing, so that equal spellings are one user, and compare ``Host`` as routes do.

    The default is true, but false if ``ring.algorithm`` or ``ring.before.algorithm`` is ``haproxy``, ``nginx`` or
    ``ketama``, because those place the bytes as received.
    """
    max_length: Annotated[int, Field(ge=1, le=65536)] = 8192
    """Length in bytes, as received; requests with longer tokens are rejected with 400."""
    rate: Rate = 0.0
    """New client connections of one token per second; 0 is no limit. The first request on further ones gets 429."""
    burst: Annotated[int, Field(ge=1, le=MAX_CONNECTIONS)] = 50
    """New client connections that one token may open at once before ``rate`` applies."""


class HashingConfig(Section):
    """An algorithm that maps tokens to backends, and its parameters."""

    algorithm: Literal["ring", "ketama", "haproxy", "nginx", "maglev", "rendezvous"] = "ring"
    points: Annotated[int, Field(ge=1, le=4096)] = 160
    """Points of a backend of weight 1 (``ring`` only; ``ketama`` and ``nginx`` always use 160)."""
    hash: Literal["md5", "blake2b"] = "md5"
    """``blake2b`` is keyed with ``seed``: outsiders cannot choose tokens for a backend, two tiers stay independent."""
    seed: Annotated[str, Field(repr=False)] = ""
    """Key of ``blake2b``, long and random: a short one can be guessed from the fingerprint of the ring."""
    bound: Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)] = 0.0
    """With 1.25, backends above 125 % of the mean load get no new tokens; 0 is off."""
    hash_type: Literal["consistent", "map-based"] | None = None
    """``haproxy``: its ``hash-type``; the default is haproxy's, map-based."""
    function: Literal["sdbm", "djb2", "wt6", "crc32", "none"] | None = None
    """``haproxy``: hash function of the token; the default is sdbm, with avalanche if ``hash_type`` is consistent."""
    avalanche: bool | None = None
    """``haproxy``: its ``avalanche`` modifier; the default is haproxy's for ``hash_type`` and ``function``."""
    hash_key: Literal["id", "addr", "addr-port", "id32", "guid"] = "id"
    """``haproxy``: what a server's points are computed from."""
    hash_balance_factor: Annotated[int, Field(ge=0, le=65535)] = 0
    """``haproxy``: its bounded load in percent, above 100; 0 is off."""
    table_size: Annotated[int, Field(ge=3, le=5000011)] = 65537
    """``maglev``: entries of its table, a prime number."""


class RingConfig(HashingConfig):
    """How tokens map to backends."""

    before: HashingConfig | None = None
    """The previous ring, while users are moved from it to this one gradually."""
    rehomed: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 1.0
    """Share of users placed by this ring; the others are placed by ``before``."""


class HealthTlsConfig(Section):
    """How probes of type ``tls`` verify the backend's certificate; if empty, as ``pool.tls`` if that is enabled."""

    verify: bool = True
    ca_file: File | None = None
    """CA certificates (PEM) to trust; the default is those of the system."""
    server_name: ServerName | None = None
    """Sent as SNI and expected in the certificate; the default is the probed IP address."""


class AgentConfig(Section):
    """A program on the host that reports the host's state in a line of text, as for haproxy's agent-check."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the agent at the backend's address; without it, there is no agent check."""
    interval: Duration = 10.0


class PassiveConfig(Section):
    """Ejection of backends that fail real traffic, after the model of Envoy's outlier detection."""

    mode: Literal["off", "dry_run", "on"] = "off"
    """``dry_run`` counts and logs ejections without making them."""
    outcomes: Array[Literal["connect", "timeout", "reset", "5xx"]] = ("connect", "timeout", "reset")
    """What counts as a failure: no connection, no response in time, no (valid) response at all, a 5xx response."""
    consecutive: Annotated[int, Field(ge=0, le=1000)] = 5
    """Consecutive failures after which a backend is ejected; 0 is off."""
    failure_rate: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.5
    """Share of failed requests in an interval at which a backend is ejected; 0 is off."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """``failure_rate`` is ignored in intervals with fewer requests."""
    interval: Duration = 10.0
    clients: Annotated[int, Field(ge=1, le=32)] = 3
    """Number of clients, by address and by token, that must be affected before failures count."""
    max_ejected: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 0.3
    """Share of the backends that may be ejected at a time; one always may."""


class HealthConfig(Section):
    """Probes and ejection. The thresholds and intervals are haproxy's rise, fall, inter, fastinter, downinter."""

    type: Literal["http", "tcp", "tls", "websocket", "off"] = "off"
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    path: Annotated[str, StringConstraints(pattern=r"^/[\x21-\x7e]*$")] = "/health"
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:\[\]_-]{1,253}$")] | None = None
    """The ``Host`` header; the default is the probed address."""
    expect_status: Annotated[tuple[Status, ...], Field(strict=False, min_length=1)] = ("2xx", "3xx")
    expect_body: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Text that the first 16 KiB of the body must contain; empty accepts any body."""
    interval: Duration = 2.0
    fast_interval: Duration | None = None
    """Interval while the last probe contradicts the state; the default is ``interval``."""
    down_interval: Duration | None = None
    """Interval while the backend is down; the default is ``interval``."""
    jitter: Annotated[float, Field(ge=0.0, le=0.5, allow_inf_nan=False)] = 0.1
    """Each interval is longer or shorter by up to this share, so that the probes of many hosts spread out."""
    timeout: Duration = 1.0
    rise: Annotated[int, Field(ge=1, le=1000)] = 2
    fall: Annotated[int, Field(ge=1, le=1000)] = 3
    drain_on_404: bool = False
    """A 404 response drains the backend: it gets no new users."""
    on_down: Literal["keep", "close"] = "keep"
    """What happens to the tunnels of a backend that is down."""
    ejection_time: Duration = 30.0
    """Duration of an ejection, multiplied by the number of recent ejections."""
    max_ejection_time: Duration = 300.0
    """Upper limit of an ejection. The number of recent ejections decreases by one after each such time without one."""
    slow_start: Duration | None = None
    """Period over which a returning backend regains its points; by default it regains all of them at once."""
    panic_threshold: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.3
    """If a smaller share of the pool's weight is healthy, health is ignored; 0 is off."""
    tls: HealthTlsConfig = HealthTlsConfig()
    agent: AgentConfig = AgentConfig()
    passive: PassiveConfig = PassiveConfig()


class BackendHealthConfig(Section):
    """Settings of the probes of one backend; the defaults are those in ``pool.health``."""

    interval: Duration | None = None
    fast_interval: Duration | None = None
    down_interval: Duration | None = None
    rise: Annotated[int, Field(ge=1, le=1000)] | None = None
    fall: Annotated[int, Field(ge=1, le=1000)] | None = None


class BackendConfig(Section):
    """One IDE host. Its name is its identity on the ring: a change of address moves no users."""

    name: Name
    address: BackendAddress
    check_address: BackendAddress | None = None
    """Address to probe; the default is ``address``."""
    check: bool = True
    """Whether it is probed; otherwise it is considered healthy."""
    backup: bool = False
    """Not on the ring: the first usable backup gets all users while no other backend can be used."""
    weight: Annotated[float, Field(ge=0.0, le=256.0, allow_inf_nan=False)] = 1.0
    max_connections: Count | None = None
    """Overrides ``pool.max_connections``."""
    id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """``haproxy``: the server's ``id``; the default is the number that haproxy would assign."""
    guid: str | None = None
    """``haproxy`` with ``hash_key = "guid"``: the server's ``guid``."""
    server: str | None = None
    """``nginx``: the server string as written in its configuration; the default is the address."""
    server_name: ServerName | None = None
    """Overrides ``pool.tls.server_name``."""
    health: BackendHealthConfig = BackendHealthConfig()


class BackendTlsConfig(Section):
    """TLS to the backends of a pool: versions 1.2 and 1.3, HTTP/1.1 by ALPN."""

    enabled: bool = False
    verify: bool = True
    """Whether the certificate must be valid and be that of ``server_name``."""
    ca_file: File | None = None
    """CA certificates (PEM) to trust; the default is those of the system."""
    server_name: ServerName | None = None
    """Sent as SNI and expected in the certificate; the default is the backend's IP address."""
    cert: File | None = None
    """Client certificate (PEM) for backends that require one, with its ``key``."""
    key: File | None = None


class PoolRetryConfig(Section):
    """Retries of requests without a response: all requests if nothing was sent yet, else only idempotent ones.

    A new attempt because a kept connection turned out to be closed does not count as a retry.
    """

    count: Annotated[int, Field(ge=0, le=1000)] = 3
    """Retries of one request."""
    time: Duration = 10.0
    """No retry starts later than this after the request's head was read."""
    budget: Annotated[float, Field(ge=0.0, le=10.0, allow_inf_nan=False)] = 0.2
    """Retries of the whole pool as a share of its requests, in addition to ten per second."""


class PoolConfig(Section):
    """Backends that share a ring."""

    name: Name
    token: TokenConfig = TokenConfig()
    ring: RingConfig = RingConfig()
    health: HealthConfig = HealthConfig()
    tls: BackendTlsConfig = BackendTlsConfig()
    send_proxy: Literal["off", "v1", "v2"] = "off"
    """Version of the PROXY header, which tells a backend the client's address at the start of a connection.

    Such a connection carries the requests of one client only. The header of probes names no client.
    """
    retry: PoolRetryConfig = PoolRetryConfig()
    max_connections: Count = 0
    """Requests in flight and tunnels per backend; 0 is no limit."""
    queue: Annotated[int, Field(ge=0, le=MAX_CONNECTIONS)] = 100
    """Requests that may wait for a backend that has reached ``max_connections``."""
    queue_timeout: Duration = 2.0
    """How long each of them may wait."""
    when_full: Literal["refuse", "successor"] = "refuse"
    """What happens to requests when the queue is full or they waited too long: 503, or the user's next backend.

    Users with a lease on the full backend always get 503, or their tabs would be on two hosts.
    """
    linger: Duration = 30.0
    """How long a user's lease lasts after the last tunnel has closed, for example while a page is reloaded."""
    drain: CutAfter | None = None
    """How long tunnels may stay on a backend that drains, is in maint or was removed; the default is that of
    ``timeouts``."""
    backend: Annotated[tuple[BackendConfig, ...], Field(strict=False, min_length=1)]


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
    listener: Annotated[tuple[ListenerConfig, ...], Field(strict=False, min_length=1)]
    pool: Annotated[tuple[PoolConfig, ...], Field(strict=False, min_length=1)]
