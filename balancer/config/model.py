"""The configuration as types: what each key means, its unit and its default.

Everything is frozen: a loaded configuration is a value, and a reload makes a new one. Durations are seconds.
Paths are absolute once loaded (relative ones start at the configuration file).
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from balancer.config.fields import (
    AmountOfMemory,
    BackendAddress,
    Duration,
    File,
    HostPattern,
    LogTarget,
    Network,
    Rate,
    Status,
    UrlPath,
    Workers,
)
from balancer.config.scalars import Form, Level, Memory

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(strict=False)]
"""A TOML array; strict mode would refuse to turn a list into a tuple."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
HttpToken = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")]
ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]


class Section(BaseModel):
    """A table of the file: frozen, unknown keys refused, no silent conversions between types.

    Who only reads a configuration, as workers do, need not wait for the validators of all tables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Admin(Section):
    """Where operators reach the daemon."""

    socket: File | None = None
    """Unix socket with full control; file permission decides who."""
    listen: BackendAddress | None = None
    """TCP address of the same API."""
    token_file: File | None = None
    """Bearer token for the TCP address; without it, TCP only reads."""


class Log(Section):
    """Where lines go."""

    access: LogTarget = "stdout"
    """JSON lines, one per request and two per tunnel."""
    level: Level = "info"
    format: Form = "text"
    """Of the messages on standard error; in the systemd journal they are entries with fields of their own."""


MOST_CONNECTIONS = 1_000_000
Count = Annotated[int, Field(ge=0, le=MOST_CONNECTIONS)]
"""A number of connections; 0 is no limit."""


class Limits(Section):
    """What the daemon accepts at most, all workers together."""

    max_connections: Annotated[int, Field(ge=1, le=MOST_CONNECTIONS)] = 20000
    """Client connections; further ones wait to be accepted."""
    max_connections_per_client: Count = 0
    """Connections of one client address (an IPv6 /64); further ones are reset."""
    client_rate: Rate = 0.0
    """New connections of one client address a second; 0 is no limit. Faster ones are reset."""
    client_burst: Annotated[int, Field(ge=1, le=MOST_CONNECTIONS)] = 50
    """New connections of one client address at once, before ``client_rate`` counts."""
    max_handshakes: Count = 1000
    """TLS handshakes in flight; further clients wait to be accepted."""
    min_rate: Annotated[int, Field(ge=0, le=1 << 30)] = 240
    """Bytes a second that a client must send of a request's body, and take of an answer; 0 is any.

    On average over ``timeouts.idle`` and ``timeouts.send``, the time in which it had to wait for others left out.
    """
    memory: AmountOfMemory = Memory(share=0.75)
    """What the daemon's processes may hold together; beyond it new connections are reset, and open ones kept."""
    max_head_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 32768
    max_body_bytes: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Longer request bodies are refused with 413; 0 is unlimited."""


class Timeouts(Section):
    """How long the daemon waits, each from the last progress made."""

    handshake: Duration = 10.0
    """For the PROXY header and the TLS handshake together."""
    head: Duration = 10.0
    """From the first byte of a request to the end of its head."""
    connect: Duration = 3.0
    """For one backend to accept a connection."""
    response: Duration = 60.0
    """From the request sent to the first byte of the answer, and between the bytes of a body of known length."""
    idle: Duration = 60.0
    """Between requests on a kept connection, and between the bytes of a request body."""
    send: Duration = 30.0
    """For a client to take something of what waits for it, and for either side of a tunnel."""
    tunnel_idle: Duration = 3600.0
    """Silence on a tunnel, or on a streamed answer without a known length."""
    drain: Duration = 600.0
    """How long open tunnels may stay once the daemon, or their backend, is draining."""
    hang: Duration = 10.0
    """A worker or control process that has given no sign of life for so long is killed, and another started."""
    close_spread: Duration = 30.0
    """Over how long the tunnels left after a drain are closed, so that their clients do not all return at once."""


class Certificate(Section):
    """A certificate chain (PEM, leaf first) and its private key (PEM, no passphrase)."""

    cert: File
    key: File


class Tls(Section):
    """TLS termination of a listener."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    certificates: Annotated[tuple[Certificate, ...], Field(strict=False, min_length=1)]
    """The first is the default, the others are chosen by SNI (exact names before wildcards)."""


class Route(Section):
    """Which requests, or in ``tcp`` mode connections, go to another pool than the listener's.

    All of ``host``, ``sni`` and the path must fit as far as they are given; of the values of one, any will do.
    """

    host: Many[HostPattern] = ()
    """Hosts of the request, without their port and in any case; ``*.`` in front stands for one label or more."""
    path: Many[UrlPath] = ()
    """Whole paths, byte for byte as they come, without the query."""
    path_prefix: Many[UrlPath] = ()
    """Beginnings of paths, byte for byte as haproxy's ``path_beg``: ``/api`` fits ``/apis`` too."""
    sni: Many[HostPattern] = ()
    """Server names of the TLS handshake, as for ``host``."""
    pool: Name


class Listener(Section):
    """Addresses that clients connect to, and the pool behind them."""

    name: Name
    bind: Annotated[tuple[BackendAddress, ...], Field(strict=False, min_length=1)]
    mode: Literal["http", "tcp"] = "http"
    pool: Name
    key: Literal["client_ip", "sni"] = "client_ip"
    """What is hashed in ``tcp`` mode; ``sni`` without ``tls`` reads the ClientHello and passes it on."""
    proxy_protocol: Literal["off", "accept"] = "off"
    max_connections: Count = 0
    """Client connections of this listener; further ones wait to be accepted."""
    trusted: Many[Network] = ()
    """Networks whose PROXY header and ``X-Forwarded-*``, ``X-Request-ID`` are believed."""
    tls: Tls | None = None
    route: Many[Route] = ()
    """The first that fits chooses the pool; if none does, it is ``pool``."""


class Token(Section):
    """Where a request's token is, and what happens without one."""

    source: Literal["query", "header", "cookie", "path", "uri", "client_ip"] = "query"
    """``path`` is the request's target without its query (haproxy's ``balance uri``), ``uri`` the whole of it."""
    param: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,64}$")] = "token"
    """``query``: name of the parameter, matched byte for byte."""
    header: HttpToken | None = None
    """``header``: name of the field, in any case."""
    cookie: HttpToken | None = None
    """``cookie``: name of the cookie, matched byte for byte."""
    depth: Annotated[int, Field(ge=0, le=1000)] = 0
    """``path``, ``uri``: only so many folders from the left count, as haproxy's word of that name; 0 is all."""
    leading_bytes: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    """``path``, ``uri``: only so many bytes from the left count, as haproxy's ``len``; 0 is all."""
    missing: Literal["reject", "client_ip", "spread"] = "reject"
    """``reject`` answers 400, ``client_ip`` hashes the client's address, ``spread`` rotates over the backends."""
    duplicates: Literal["refuse", "first", "last"] = "refuse"
    """Several values in one request: refused with 400 if they differ, or the first or last one taken.

    A header is then a list of values with commas between them (RFC 9110, 5.3); with ``refuse`` it is one value.
    """
    decode: bool = False
    """Percent-decode the value before hashing."""
    max_length: Annotated[int, Field(ge=1, le=8192)] = 512
    """Longer tokens are refused with 400; in bytes, as received."""
    rate: Rate = 0.0
    """New client connections of one token a second; 0 is no limit. The first request of a faster one gets 429."""
    burst: Annotated[int, Field(ge=1, le=MOST_CONNECTIONS)] = 50
    """New client connections of one token at once, before ``rate`` counts."""


class Hashing(Section):
    """A way from tokens to backends."""

    algorithm: Literal["ring", "ketama", "haproxy", "nginx", "maglev", "rendezvous"] = "ring"
    points: Annotated[int, Field(ge=1, le=4096)] = 160
    """Points of a backend of weight 1 (``ring``; ``ketama`` and ``nginx`` fix it at 160)."""
    hash: Literal["md5", "blake2b"] = "md5"
    """``blake2b`` is keyed with ``seed``: outsiders cannot aim at a host, and two tiers stay independent."""
    seed: Annotated[str, Field(repr=False)] = ""
    """The secret of ``blake2b``, long and random: the fingerprint of a ring betrays one that can be guessed."""
    bound: Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)] = 0.0
    """0 is off; 1.25 lets no backend take new tokens above 125 % of the mean."""
    hash_type: Literal["consistent", "map-based"] | None = None
    """``haproxy``: as its keyword ``hash-type``; absent as in a haproxy file without it (map-based)."""
    function: Literal["sdbm", "djb2", "wt6", "crc32", "none"] | None = None
    """``haproxy``: hash function of the token; absent is sdbm, with avalanche if ``hash_type`` is consistent."""
    avalanche: bool | None = None
    """``haproxy``: the modifier of that name; absent follows haproxy's default for the case."""
    hash_key: Literal["id", "addr", "addr-port", "id32", "guid"] = "id"
    """``haproxy``: what a server's points are made of."""
    hash_balance_factor: Annotated[int, Field(ge=0, le=65535)] = 0
    """``haproxy``: its bounded load in percent, 0 off, otherwise above 100."""
    table_size: Annotated[int, Field(ge=3, le=5000011)] = 65537
    """``maglev``: entries of its table, a prime."""


class Ring(Hashing):
    """How tokens map to backends."""

    before: Hashing | None = None
    """The ring that was in force before this one, while users are re-homed from it by and by."""
    rehomed: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 1.0
    """Share of the users that this ring places already; the others are where ``before`` has them."""


class HealthTls(Section):
    """How probes of type ``tls`` judge the backend's certificate; left empty, as ``pool.tls`` if that is enabled."""

    verify: bool = True
    ca_file: File | None = None
    """Certificates (PEM) to trust; absent are those of the system."""
    server_name: ServerName | None = None
    """Sent as SNI and expected in the certificate; absent is the IP address that is probed."""


class Agent(Section):
    """A program on the host that tells in a line how the host is, as haproxy's agent-check."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """On the host of the backend's address; absent, nobody is asked."""
    interval: Duration = 10.0


class Passive(Section):
    """How backends that fail real traffic are found and ejected, on the model of Envoy's outlier detection."""

    mode: Literal["off", "dry_run", "on"] = "off"
    """``dry_run`` counts and logs what would be done."""
    outcomes: Many[Literal["connect", "timeout", "reset", "5xx"]] = ("connect", "timeout", "reset")
    """What is a failure: no connection, no answer in time, none at all (or no proper one), an answer of that class."""
    consecutive: Annotated[int, Field(ge=0, le=1000)] = 5
    """Failures without an answer between them that eject; 0 is off."""
    failure_rate: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.5
    """Share of an interval's requests that ejects if it fails; 0 is off."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """In an interval with fewer, ``failure_rate`` says nothing."""
    interval: Duration = 10.0
    clients: Annotated[int, Field(ge=1, le=32)] = 3
    """So many clients, by address and by token, have to be affected: the failures of one fewer never count."""
    max_ejected: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 0.3
    """Share of the backends that may be out at a time; one may always."""


class Health(Section):
    """How a backend is probed. The thresholds and intervals are haproxy's rise, fall, inter, fastinter, downinter."""

    type: Literal["http", "tcp", "tls", "websocket", "off"] = "off"
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    path: Annotated[str, StringConstraints(pattern=r"^/[\x21-\x7e]*$")] = "/health"
    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:\[\]_-]{1,253}$")] | None = None
    """The ``Host`` header; absent is the address that is probed."""
    expect_status: Annotated[tuple[Status, ...], Field(strict=False, min_length=1)] = ("2xx", "3xx")
    expect_body: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Text that the first 16 KiB of the body hold; empty takes any body."""
    interval: Duration = 2.0
    fast_interval: Duration | None = None
    """While the last probe contradicts the state; absent is ``interval``."""
    down_interval: Duration | None = None
    """While the backend is down; absent is ``interval``."""
    jitter: Annotated[float, Field(ge=0.0, le=0.5, allow_inf_nan=False)] = 0.1
    """Each wait is longer or shorter by up to this share, so that the probes of many hosts spread."""
    timeout: Duration = 1.0
    rise: Annotated[int, Field(ge=1, le=1000)] = 2
    fall: Annotated[int, Field(ge=1, le=1000)] = 3
    drain_on_404: bool = False
    """404 means: no new users, please."""
    on_down: Literal["keep", "close"] = "keep"
    """What becomes of the tunnels of a backend that is down."""
    ejection_time: Duration = 30.0
    """How long a backend stays out each time it has to go, times how often it went lately."""
    max_ejection_time: Duration = 300.0
    """At most so long; and so much time in good standing takes one off how often it went."""
    slow_start: Duration | None = None
    """Over how long a backend that returns gets its points back; absent, it has them all at once."""
    panic_threshold: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.3
    """With a smaller share of the pool's weight healthy, health is ignored; 0 is never."""
    tls: HealthTls = HealthTls()
    agent: Agent = Agent()
    passive: Passive = Passive()


class BackendHealth(Section):
    """What differs for the probes of one backend; absent is as in ``pool.health``."""

    interval: Duration | None = None
    fast_interval: Duration | None = None
    down_interval: Duration | None = None
    rise: Annotated[int, Field(ge=1, le=1000)] | None = None
    fall: Annotated[int, Field(ge=1, le=1000)] | None = None


class Backend(Section):
    """One IDE host. Its name is its identity on the ring: the address may change without moving anyone."""

    name: Name
    address: BackendAddress
    check_address: BackendAddress | None = None
    """Where it is probed; absent is ``address``."""
    check: bool = True
    """Is it probed? One that is not is held to be healthy."""
    backup: bool = False
    """Not on the ring: it gets users, the first of several all of them, while no other backend can be used."""
    weight: Annotated[float, Field(ge=0.0, le=256.0, allow_inf_nan=False)] = 1.0
    max_connections: Count | None = None
    """As in ``pool``, for this backend; absent takes what is there."""
    id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """``haproxy``: the server's ``id``; absent takes the number haproxy would give it."""
    guid: str | None = None
    """``haproxy`` with ``hash_key = "guid"``."""
    server: str | None = None
    """``nginx``: the server string as written in its configuration; absent is the address."""
    server_name: ServerName | None = None
    """For this backend, in the place of ``pool.tls.server_name``."""
    health: BackendHealth = BackendHealth()


class BackendTls(Section):
    """TLS towards the backends of a pool; versions 1.2 and 1.3, HTTP/1.1 by ALPN."""

    enabled: bool = False
    verify: bool = True
    """Must the certificate be good, and be that of ``server_name``?"""
    ca_file: File | None = None
    """Certificates (PEM) to trust; absent are those of the system."""
    server_name: ServerName | None = None
    """Sent as SNI and expected in the certificate; absent is the backend's IP address."""
    cert: File | None = None
    """Our own certificate (PEM) for backends that ask for one, and its ``key``."""
    key: File | None = None


class PoolRetry(Section):
    """How a request that got no answer is tried again: of any method if nothing was sent, else if it may be repeated.

    A connection that was kept from before and turns out to be closed does not count.
    """

    count: Annotated[int, Field(ge=0, le=1000)] = 3
    """Retries of one request."""
    time: Duration = 10.0
    """No retry begins later than this after the request's head was read."""
    budget: Annotated[float, Field(ge=0.0, le=10.0, allow_inf_nan=False)] = 0.2
    """Retries of the pool as a share of its requests, beside ten a second."""


class Pool(Section):
    """Backends that share a ring."""

    name: Name
    token: Token = Token()
    ring: Ring = Ring()
    health: Health = Health()
    tls: BackendTls = BackendTls()
    send_proxy: Literal["off", "v1", "v2"] = "off"
    """A PROXY header with the client's address at the beginning of each connection to a backend, by its version.

    Such a connection carries the requests of one client only. Probes say that they are nobody's.
    """
    retry: PoolRetry = PoolRetry()
    max_connections: Count = 0
    """Requests in flight and tunnels of each backend; 0 is no limit."""
    queue: Annotated[int, Field(ge=0, le=MOST_CONNECTIONS)] = 100
    """Requests that may wait for one backend with ``max_connections``."""
    queue_timeout: Duration = 2.0
    """How long each of them may wait."""
    when_full: Literal["refuse", "successor"] = "refuse"
    """What becomes of those that did not get a place: 503, or the next backend in the user's order.

    Users with a lease on the full backend are refused anyway, or their tabs would be on two hosts.
    """
    linger: Duration = 30.0
    """How long a user without an open tunnel still belongs to the backend of the last one (the page is reloaded)."""
    backend: Annotated[tuple[Backend, ...], Field(strict=False, min_length=1)]


class Config(Section):
    """The whole file."""

    workers: Workers = "auto"
    state_dir: File | None = None
    admin: Admin = Admin()
    log: Log = Log()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    listener: Annotated[tuple[Listener, ...], Field(strict=False, min_length=1)]
    pool: Annotated[tuple[Pool, ...], Field(strict=False, min_length=1)]
