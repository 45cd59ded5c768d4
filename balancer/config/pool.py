"""The tables of a pool: token, ring, health checks, backends."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from balancer.config.fields import BackendAddress, CutAfter, Duration, File, Rate, Status
from balancer.config.head_fields import FieldsConfig
from balancer.config.section import (
    MAX_CONNECTIONS,
    Array,
    Count,
    Duplicates,
    HttpToken,
    Name,
    Param,
    Section,
    ServerName,
)


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

    source: Literal["query", "header", "cookie", "path", "uri", "client_ip", "none"] = "query"
    """``path`` is the request target without its query (haproxy's ``balance uri``), ``uri`` the whole target.

    ``none`` is for applications without tokens: see ``missing``.
    """
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
    missing: Literal["reject", "client_ip", "spread", "assign"] = "reject"
    """``reject`` answers 400, ``client_ip`` hashes the client's address, ``spread`` rotates over the backends.

    ``assign`` gives the user a new token in the cookie of ``remember``, as haproxy's ``cookie insert`` does.
    """
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
    balance: Literal["token", "turns"] = "token"
    """``turns``: requests rotate over the backends by weight, and users have no place; ``token`` is not used."""
    token: TokenConfig = TokenConfig()
    ring: RingConfig = RingConfig()
    health: HealthConfig = HealthConfig()
    tls: BackendTlsConfig = BackendTlsConfig()
    send_proxy: Literal["off", "v1", "v2"] = "off"
    """Version of the PROXY header, which tells a backend the client's address at the start of a connection.

    Such a connection carries the requests of one client only. The header of probes names no client.
    """
    degraded_below: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.5
    """If a smaller share of its weight is healthy, ``/readyz?pool=NAME`` asks for fewer users; 0 is off."""
    tier: bool = False
    """The backends are balancers of this kind: what they refuse is sent to the next one, as if they were down."""
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
    request_fields: FieldsConfig = FieldsConfig()
    """What is changed in requests to these backends, after what the listener changes."""
    response_fields: FieldsConfig = FieldsConfig()
    """What is changed in responses to requests for this pool, before what the listener changes."""
    drain: CutAfter | None = None
    """How long tunnels may stay on a backend that drains, is in maint or was removed; the default is that of
    ``timeouts``."""
    backend: Annotated[tuple[BackendConfig, ...], Field(strict=False, min_length=1)]

    def panic_threshold(self) -> float:
        """Return ``health.panic_threshold``, or its default: 0 for a tier, whose balancers know their hosts best."""
        given = "panic_threshold" in self.health.model_fields_set
        return self.health.panic_threshold if given or not self.tier else 0.0
