"""What a worker needs of the configuration, as plain values that travel from control to the workers.

The configuration file is read and checked by control alone, with pydantic; a worker would carry 10 MiB of validators it
never uses. Attributes have the names of the configuration's keys, so one can be looked up from the other. Durations are
seconds, certificates are the bytes of their files: a worker opens no file that the configuration names but its log and
ACME challenges.
"""

from typing import Literal

from msgspec import Struct

from balancer.config.pem import Pem
from balancer.config.scalars import AccessFormat, Facility, LogFormat, Memory

CHALLENGES = "/.well-known/acme-challenge/"
"""Where ACME clients expect their challenges to be answered (RFC 8555, 8.3)."""
Outcome = Literal["connect", "timeout", "reset", "5xx"]
"""How a request can fail at a backend."""
Forwarded = Literal["set", "append", "keep"]
"""What hosts get as forwarding fields: see ``listener.forwarded``."""


class PlaceSettings(Struct, frozen=True):
    """A place in a request where its token may be, and how it is read there."""

    source: Literal["query", "header", "cookie", "referer", "path", "uri", "client_ip", "none"] = "query"
    param: str = "token"
    header: str | None = None
    prefix: str = ""
    cookie: str | None = None
    depth: int = 0
    leading_bytes: int = 0
    duplicates: Literal["refuse", "first", "last"] = "refuse"
    decode: bool = True
    max_length: int = 8192


class TokenSettings(PlaceSettings, frozen=True):
    """Where a request's token is, and what happens without one."""

    fallback: tuple[PlaceSettings, ...] = ()
    remember: str = "off"
    remember_same_site: Literal["lax", "none"] = "lax"
    missing: Literal["reject", "client_ip", "spread", "assign"] = "reject"
    rate: float = 0.0
    burst: int = 50


class ConditionSettings(Struct, frozen=True):
    """Which requests are meant: those that match a value of each field that is not empty."""

    host: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    path_prefix: tuple[str, ...] = ()
    sni: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    header: dict[str, str | bool] = {}
    client: tuple[str, ...] = ()
    tls: bool | None = None
    certificate: bool | None = None


class Deny(Struct, frozen=True, tag=True):
    """Refuse the request."""

    status: int


class Redirect(Struct, frozen=True, tag=True):
    """Send the client somewhere else: to ``location``, or to the same URL with parts replaced."""

    code: int = 302
    location: str | None = None
    scheme: str | None = None
    host: str | None = None
    prefix: str | None = None
    covered: tuple[str, ...] | None = None
    """Names of certificates, one of which has to cover the host; None is any host, and as it was sent."""


class ChallengeFolder(Struct, frozen=True, tag=True):
    """Answer ACME challenges with the files of this folder."""

    path: str


class Answer(Struct, frozen=True, tag=True):
    """Answer here."""

    status: int
    content_type: str
    body: bytes


class ToPool(Struct, frozen=True, tag=True):
    """Send the request to this pool."""

    name: str


Action = Deny | Redirect | Answer | ChallengeFolder | ToPool


class RuleSettings(Struct, frozen=True):
    """What happens to requests that match ``when`` and none of ``unless``."""

    action: Action
    when: ConditionSettings
    unless: tuple[ConditionSettings, ...] = ()


class FieldSettings(Struct, frozen=True):
    """What is done to the header fields of a message, in this order."""

    remove: tuple[str, ...] = ()
    set: dict[str, str] = {}
    add: dict[str, tuple[str, ...]] = {}


class ErrorPage(Struct, frozen=True):
    """A response in place of the daemon's own to an error."""

    status: int
    fields: bytes
    """Header fields, each with its CRLF."""
    body: bytes


class ClientCertificates(Struct, frozen=True):
    """What certificates of clients are verified by."""

    required: bool
    """Whether clients without one are refused."""
    authorities: bytes
    """Certificates (PEM) to trust."""
    crls: bytes | None = None
    """Lists of revoked certificates (PEM)."""


class TlsSettings(Struct, frozen=True):
    """TLS termination of a listener; the first certificate is the default."""

    certificates: tuple[Pem, ...]
    min_version: Literal["1.2", "1.3"] = "1.2"
    client: ClientCertificates | None = None
    """None if clients are not asked for a certificate."""


class ListenerSettings(Struct, frozen=True):
    """Addresses that clients connect to, and the pool behind them."""

    name: str
    pool: str
    mode: Literal["http", "tcp"] = "http"
    key: Literal["client_ip", "sni"] = "client_ip"
    proxy_protocol: Literal["off", "accept"] = "off"
    max_connections: int = 0
    trusted: tuple[str, ...] = ()
    forwarded: Forwarded = "append"
    request_fields: FieldSettings = FieldSettings()
    response_fields: FieldSettings = FieldSettings()
    error_pages: dict[int, ErrorPage] = {}
    """By the status of the error."""
    tls: TlsSettings | None = None
    rule: tuple[RuleSettings, ...] = ()
    socket_keys: tuple[str, ...] = ()
    """Keys of its sockets in the supervisor."""
    slot: int = 0
    """Its number among the shared counters."""


class BackendTlsSettings(Struct, frozen=True):
    """TLS to the backends of a pool, or to probed addresses."""

    enabled: bool = False
    verify: bool = True
    authorities: bytes | None = None
    """Certificates (PEM) to trust; None means those of the system."""
    server_name: str | None = None
    certificate: Pem | None = None
    """Client certificate for backends that require one."""


class PassiveSettings(Struct, frozen=True):
    """Which outcomes of requests count as failures of a backend."""

    mode: Literal["off", "dry_run", "on"] = "off"
    outcomes: tuple[Outcome, ...] = ()


class PoolHealthSettings(Struct, frozen=True):
    """What a worker does about the health that control publishes."""

    panic_threshold: float = 0.3
    on_down: Literal["keep", "close"] = "keep"
    passive: PassiveSettings = PassiveSettings()


class BoundSettings(Struct, frozen=True):
    """Bounded load of a ring."""

    bound: float = 0.0
    hash_balance_factor: int = 0


class RetrySettings(Struct, frozen=True):
    """Retries of a request."""

    count: int = 3
    time: float = 10.0
    budget: float = 0.2


class BackendSettings(Struct, frozen=True):
    """The settings of one backend of a pool."""

    name: str
    max_connections: int | None = None
    server_name: str | None = None


class PoolSettings(Struct, frozen=True):
    """Backends that share a ring."""

    name: str
    token: TokenSettings = TokenSettings()
    ring: BoundSettings = BoundSettings()
    health: PoolHealthSettings = PoolHealthSettings()
    tls: BackendTlsSettings = BackendTlsSettings()
    send_proxy: Literal["off", "v1", "v2"] = "off"
    tier: bool = False
    retry: RetrySettings = RetrySettings()
    max_connections: int = 0
    queue: int = 100
    queue_timeout: float = 2.0
    when_full: Literal["refuse", "successor"] = "refuse"
    linger: float = 30.0
    request_fields: FieldSettings = FieldSettings()
    response_fields: FieldSettings = FieldSettings()
    backend: tuple[BackendSettings, ...] = ()


class LimitSettings(Struct, frozen=True):
    """Limits for all workers together."""

    max_connections: int = 20000
    max_connections_per_client: int = 0
    client_rate: float = 0.0
    client_burst: int = 50
    max_handshakes: int = 1000
    min_rate: int = 240
    memory: Memory = Memory(share=0.75)
    max_head_bytes: int = 32768
    max_body_bytes: int = 0


class TimeoutSettings(Struct, frozen=True):
    """Timeouts, each since the last progress."""

    handshake: float = 10.0
    head: float = 10.0
    connect: float = 3.0
    response: float = 60.0
    idle: float = 60.0
    keep_alive: float = 60.0
    send: float = 30.0
    tcp_keepalive: float = 60.0
    tunnel_idle: float = 3600.0
    drain: float = 600.0
    close_spread: float = 30.0


class KeySettings(Struct, frozen=True):
    """Secret keys, one for each purpose. Of several, the first is used; the others are still accepted."""

    digest: bytes = b""
    """Key of the digests of tokens."""
    passes: tuple[bytes, ...] = ()
    """Keys of trace passes."""
    seals: tuple[bytes, ...] = ()
    """Keys of remembered tokens, 32 bytes each."""

    def __repr__(self) -> str:
        return "KeySettings(...)"


class LogSettings(Struct, frozen=True):
    """Target of a worker's log lines: see ``log`` of the configuration."""

    access: str = "stdout"
    access_format: AccessFormat = "json"
    facility: Facility = "local0"
    format: LogFormat = "text"


class WorkerSettings(Struct, frozen=True):
    """Everything a worker needs of the configuration."""

    listener: tuple[ListenerSettings, ...]
    pool: tuple[PoolSettings, ...]
    limits: LimitSettings = LimitSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    log: LogSettings = LogSettings()
