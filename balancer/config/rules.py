"""Rules between the keys of a configuration; the form of each value is checked by the model."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TypeVar

from balancer.config.finding import Finding, Key
from balancer.config.head_fields import field_findings
from balancer.config.listener import ListenerConfig
from balancer.config.model import Config
from balancer.config.pool import BackendConfig, PoolConfig
from balancer.config.rules_health import ejection_findings, health_findings
from balancer.config.rules_listener import goal_findings, rule_findings, tls_findings
from balancer.config.rules_pool import backend_tls_findings
from balancer.config.rules_ring import hashings, points_findings, ring_findings, tier_findings
from balancer.config.rules_token import remember_findings, token_findings
from balancer.config.scalars import Address, shown

T = TypeVar("T")

_ALGORITHM_OF_BACKEND_KEY = {"id": "haproxy", "guid": "haproxy", "server": "nginx"}


def findings(config: Config) -> Iterator[Finding]:
    """Yield every problem and warning about a configuration whose values all have a valid form."""
    yield from _repeats((("listener", i, "name"), each.name) for i, each in enumerate(config.listener))
    yield from _binds(config)
    yield from _admin(config)
    yield from _limits(config)
    for i, listener in enumerate(config.listener):
        yield from _listener(("listener", i), listener)
        yield from goal_findings(("listener", i), listener, config)
        yield from tls_findings(("listener", i), listener.tls)
        yield from rule_findings(("listener", i), listener, config.pool)
        yield from _fields(("listener", i), listener)
    yield from _repeats((("pool", i, "name"), each.name) for i, each in enumerate(config.pool))
    for i, pool in enumerate(config.pool):
        yield from _pool_limits(("pool", i), pool)
        yield from _fields(("pool", i), pool)
        yield from token_findings(("pool", i, "token"), pool)
        yield from ring_findings(("pool", i, "ring"), pool)
        yield from _backends(("pool", i), pool)
        yield from health_findings(("pool", i), pool)
        yield from ejection_findings(("pool", i, "health"), pool)
        yield from backend_tls_findings(("pool", i), pool)
    yield from tier_findings(config)
    yield from remember_findings(config)
    yield from _unused(config)


def _repeats(given: Iterable[tuple[Key, str | int]], reads: tuple[Key, ...] = ()) -> Iterator[Finding]:
    first: dict[str | int, Key] = {}
    for key, value in given:
        if key != (twin := first.setdefault(value, key)):
            yield Finding(key, f"{shown(value)} is already used; it must be unique", reads, twin=twin)


def _binds(config: Config) -> Iterator[Finding]:
    """Addresses that cannot be bound: Unix sockets, and those that another key of the file binds already."""
    taken: list[tuple[Key, Address]] = []
    admin = ("listen", config.admin.listen), ("health_listen", config.admin.health_listen)
    bound: list[tuple[Key, Address]] = [(("admin", key), address) for key, address in admin if address]
    for i, listener in enumerate(config.listener):
        bound += [(("listener", i, "bind", j), address) for j, address in enumerate(listener.bind)]
    for key, address in bound:
        if address.path:
            hint = "admin.socket is for Unix sockets" if key[0] == "admin" else "clients come over TCP"
            yield Finding(key, f"expected an IP address and a port, not {shown(str(address))}: {hint}")
            continue
        if twin := next((other for other, held in taken if _collide(address, held)), None):
            yield Finding(key, f"{address} is already bound", twin=twin)
        taken.append((key, address))


def _collide(one: Address, other: Address) -> bool:
    """Port 0 is any free port and never collides; a wildcard address covers every address of its family."""
    hosts = {ip_address(one.host), ip_address(other.host)}
    same_family = len({host.version for host in hosts}) == 1
    return one.port == other.port != 0 and same_family and (len(hosts) == 1 or any(h.is_unspecified for h in hosts))


def _admin(config: Config) -> Iterator[Finding]:
    listen = config.admin.listen
    if listen and not listen.path and not ip_address(listen.host).is_loopback and config.admin.token_file is None:
        message = "would answer anyone who can reach it: set admin.token_file, or listen on 127.0.0.1"
        yield Finding(("admin", "listen"), message, (("admin", "token_file"),))
    elif listen and not listen.path and not ip_address(listen.host).is_loopback:
        message = (
            "sends the token of admin.token_file unencrypted: everyone on the way can read it and take over; "
            "listen on 127.0.0.1 and come through ssh, or have a listener with TLS in front"
        )
        yield Finding(("admin", "listen"), message, warning=True)


def _limits(config: Config) -> Iterator[Finding]:
    if config.timeouts.hang < 1:
        yield Finding(
            ("timeouts", "hang"), "must be at least 1s: heartbeats come every 250 ms, and a busy process is late"
        )
    limits = config.limits
    if "client_burst" in limits.model_fields_set and not limits.client_rate:
        reads = (("limits", "client_rate"),)
        yield Finding(("limits", "client_burst"), "has no effect without client_rate", reads, warning=True)
    for i, listener in enumerate(config.listener):
        if listener.max_connections > limits.max_connections:
            message = f"is never reached: limits.max_connections is {limits.max_connections}"
            reads = (("limits", "max_connections"),)
            yield Finding(("listener", i, "max_connections"), message, reads, warning=True)


def _pool_limits(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Limits that have no effect without another key."""
    if "burst" in pool.token.model_fields_set and not pool.token.rate:
        yield Finding((*at, "token", "burst"), "has no effect without rate", ((*at, "token", "rate"),), warning=True)
    if not pool.max_connections and not any(backend.max_connections for backend in pool.backend):
        for key in sorted(pool.model_fields_set & {"queue", "queue_timeout", "when_full"}):
            message = "has no effect without max_connections"
            yield Finding((*at, key), message, ((*at, "max_connections"),), warning=True)


def _listener(at: Key, listener: ListenerConfig) -> Iterator[Finding]:
    if listener.proxy_protocol == "accept" and not listener.trusted:
        message = 'any client could claim any address: list the proxies in front, such as trusted = ["10.0.0.0/8"]'
        yield Finding((*at, "proxy_protocol"), message, ((*at, "trusted"),))
    if listener.key == "sni" and listener.mode != "tcp":
        yield Finding((*at, "key"), 'needs mode = "tcp"; in mode "http" the token is the key', ((*at, "mode"),))
    if listener.redirect is not None:
        return
    public = [each for each in listener.bind if not each.path and not ip_address(each.host).is_loopback]
    if public and listener.mode == "http" and listener.tls is None and not listener.trusted:
        message = f"tokens are sent in clear text at {public[0]}: add a tls table to the listener"
        reads = tuple((*at, key) for key in ("mode", "tls", "trusted"))
        yield Finding((*at, "bind"), message, reads, warning=True)


def _fields(at: Key, table: ListenerConfig | PoolConfig) -> Iterator[Finding]:
    yield from field_findings((*at, "request_fields"), table.request_fields)
    yield from field_findings((*at, "response_fields"), table.response_fields)
    if not isinstance(table, ListenerConfig):
        return
    if table.forwarded == "keep":
        message = "hosts get whatever X-Forwarded-* any client claims: only a balancer in front can make them true"
        yield Finding((*at, "forwarded"), message, warning=True)
    if table.mode == "tcp":
        for key in sorted(table.model_fields_set & {"forwarded", "request_fields", "response_fields", "error_pages"}):
            yield Finding(
                (*at, key), 'has no effect: mode "tcp" does not read requests', ((*at, "mode"),), warning=True
            )


def _unused(config: Config) -> Iterator[Finding]:
    used: set[str | None] = {listener.pool for listener in config.listener}
    used |= {route.pool for listener in config.listener for route in listener.route}
    used |= {rule.pool for listener in config.listener for rule in listener.rule if rule.pool is not None}
    used |= {listener.acme_challenge.pool for listener in config.listener if listener.acme_challenge}
    used -= {None}
    if not used <= {pool.name for pool in config.pool}:
        return  # an unknown pool is reported already; it may be a misspelling of the unused one
    leading = ("pool", "route", "rule", "acme_challenge")
    reads = tuple(("listener", i, key) for i in range(len(config.listener)) for key in leading)
    for i, pool in enumerate(config.pool):
        if pool.name not in used:
            yield Finding(("pool", i, "name"), "no listener uses this pool", reads, warning=True)


def _backends(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    keys: list[Key] = [(*at, "backend", i) for i in range(len(pool.backend))]
    yield from _repeats(((*key, "name"), each.name) for key, each in zip(keys, pool.backend, strict=True))
    first: dict[Address, Key] = {}
    for key, backend in zip(keys, pool.backend, strict=True):
        yield from _backend(key, backend, (*at, "ring", "algorithm"), pool)
        if key != (twin := first.setdefault(backend.address, key)):
            message = (
                f"{backend.address} is already a backend, and is probed and limited twice; a weight gives more share"
            )
            yield Finding((*key, "address"), message, twin=(*twin, "address"), warning=True)
    if all(backend.backup for backend in pool.backend):
        message = "every backend is a backup: at least one must be on the ring"
        yield Finding((*keys[0], "backup"), message, tuple((*key, "backup") for key in keys))
    elif not any(backend.weight for backend in pool.backend if not backend.backup):
        message = "every backend has weight 0: at least one must be above 0"
        reads = tuple((*key, name) for key in keys for name in ("weight", "backup"))
        yield Finding((*keys[0], "weight"), message, reads)
    if any(ring.algorithm == "haproxy" for ring in hashings(pool)):
        ids = [((*key, "id"), each.id) for key, each in zip(keys, pool.backend, strict=True)]
        yield from _repeats(((key, given) for key, given in ids if given is not None), ((*at, "ring", "algorithm"),))
    yield from points_findings(at, pool)


def _backend(at: Key, backend: BackendConfig, algorithm: Key, pool: PoolConfig) -> Iterator[Finding]:
    reads = (algorithm, (*algorithm[:-1], "before"))
    algorithms = {ring.algorithm for ring in hashings(pool)}
    whole = backend.weight.is_integer()
    if not backend.address.path and backend.address.port == 0:
        yield Finding((*at, "address"), "a backend needs a port above 0")
    if "haproxy" in algorithms and not whole:
        message = f"haproxy's weights are whole numbers from 0 to 256, not {backend.weight}"
        yield Finding((*at, "weight"), message, reads)
    if "nginx" in algorithms and (not whole or backend.weight < 1):
        yield Finding((*at, "weight"), f"nginx's weights are whole numbers from 1, not {backend.weight}", reads)
    if not backend.guid and any(ring.algorithm == "haproxy" and ring.hash_key == "guid" for ring in hashings(pool)):
        message = 'missing: with hash_key = "guid" every backend needs a guid'
        yield Finding((*at, "guid"), message, (algorithm, (*algorithm[:-1], "hash_key")))
    if backend.backup and "weight" in backend.model_fields_set:
        message = "has no effect: a backup is not on the ring"
        yield Finding((*at, "weight"), message, ((*at, "backup"),), warning=True)
    for key in sorted(backend.model_fields_set & _ALGORITHM_OF_BACKEND_KEY.keys()):
        if (owner := _ALGORITHM_OF_BACKEND_KEY[key]) not in algorithms:
            message = f"has no effect: it needs algorithm = {shown(owner)}"
            yield Finding((*at, key), message, reads, warning=True)
