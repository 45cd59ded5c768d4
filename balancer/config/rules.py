"""What must hold between the keys of a configuration, beyond each having the right form."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from ipaddress import ip_address
from math import isqrt
from typing import TypeVar

from balancer.config.finding import Finding, Key
from balancer.config.model import Backend, BackendHealth, Config, Hashing, Health, HealthTls, Listener, Pool
from balancer.config.rules_health import ejection_findings
from balancer.config.rules_pool import tls_findings, token_findings
from balancer.config.scalars import Address, shown

T = TypeVar("T")

_ALGORITHMS_OF = {
    "points": ("ring",),
    "hash": ("ring", "maglev", "rendezvous"),
    "seed": ("ring", "maglev", "rendezvous"),
    "hash_type": ("haproxy",),
    "function": ("haproxy",),
    "avalanche": ("haproxy",),
    "hash_key": ("haproxy",),
    "hash_balance_factor": ("haproxy",),
    "table_size": ("maglev",),
}
"""Keys of ``pool.ring`` that mean nothing to the other algorithms."""
_ALGORITHM_OF_BACKEND_KEY = {"id": "haproxy", "guid": "haproxy", "server": "nginx"}
_PROBES_OF = {
    "method": ("http",),
    "path": ("http", "websocket"),
    "host": ("http", "websocket"),
    "expect_status": ("http",),
    "expect_body": ("http",),
    "drain_on_404": ("http", "websocket"),
    "tls": ("tls",),
}
"""Keys of ``pool.health`` that mean nothing to the other types."""
_SHORTEST_INTERVAL = 0.1
_MIN_SEED_BYTES = 16
_HAPROXY_ID_PERIOD = 1 << 20
_ENTRIES_PER_BACKEND = 100
_UNIQUE = ("address", "id")
"""Keys of a backend that no two may share, whatever the algorithm makes of them."""


def findings(config: Config) -> Iterator[Finding]:
    """Everything wrong or suspicious in a configuration whose values all have the right form."""
    yield from _repeats((("listener", i, "name"), each.name) for i, each in enumerate(config.listener))
    yield from _binds(config)
    yield from _admin(config)
    yield from _limits(config)
    for i, listener in enumerate(config.listener):
        yield from _listener(("listener", i), listener)
        yield from _reference(("listener", i, "pool"), listener.pool, config.pool)
        yield from _routes(("listener", i), listener, config.pool)
    yield from _repeats((("pool", i, "name"), each.name) for i, each in enumerate(config.pool))
    for i, pool in enumerate(config.pool):
        yield from _room(("pool", i), pool)
        yield from token_findings(("pool", i, "token"), pool)
        yield from _ring(("pool", i, "ring"), pool.ring, pool)
        yield from _before(("pool", i, "ring"), pool)
        yield from _backends(("pool", i), pool)
        yield from _health(("pool", i), pool)
        yield from ejection_findings(("pool", i, "health"), pool)
        yield from tls_findings(("pool", i), pool)
    yield from _unused(config)


def _repeats(given: Iterable[tuple[Key, str | int]], reads: tuple[Key, ...] = ()) -> Iterator[Finding]:
    first: dict[str | int, Key] = {}
    for key, value in given:
        if key != (twin := first.setdefault(value, key)):
            yield Finding(key, f"{shown(value)} is taken; each has its own", reads, twin=twin)


def _binds(config: Config) -> Iterator[Finding]:
    """Sockets that could not be bound because another one of the file has the address."""
    taken: list[tuple[Key, Address]] = []
    bound: list[tuple[Key, Address]] = [(("admin", "listen"), config.admin.listen)] if config.admin.listen else []
    for i, listener in enumerate(config.listener):
        bound += [(("listener", i, "bind", j), address) for j, address in enumerate(listener.bind)]
    for key, address in bound:
        if address.path:
            hint = "admin.socket is for Unix sockets" if key[0] == "admin" else "clients come over TCP"
            yield Finding(key, f"expected an IP address and a port, not {shown(str(address))}: {hint}")
            continue
        if twin := next((other for other, held in taken if _collide(address, held)), None):
            yield Finding(key, f"{address} is bound already", twin=twin)
        taken.append((key, address))


def _collide(one: Address, other: Address) -> bool:
    """Port 0 is any free port and collides with nothing; a wildcard covers every address of its family."""
    hosts = {ip_address(one.host), ip_address(other.host)}
    same_family = len({host.version for host in hosts}) == 1
    return one.port == other.port != 0 and same_family and (len(hosts) == 1 or any(h.is_unspecified for h in hosts))


def _admin(config: Config) -> Iterator[Finding]:
    listen = config.admin.listen
    if listen and not listen.path and not ip_address(listen.host).is_loopback and config.admin.token_file is None:
        message = "answers whoever reaches it: give admin a token_file, or listen on 127.0.0.1"
        yield Finding(("admin", "listen"), message, (("admin", "token_file"),))


def _limits(config: Config) -> Iterator[Finding]:
    if config.timeouts.hang < 1:
        yield Finding(
            ("timeouts", "hang"), "below 1s a process that is only busy would be killed: it gives a sign every 250 ms"
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


def _room(at: Key, pool: Pool) -> Iterator[Finding]:
    """Keys about limits that mean nothing without another."""
    if "burst" in pool.token.model_fields_set and not pool.token.rate:
        yield Finding((*at, "token", "burst"), "has no effect without rate", ((*at, "token", "rate"),), warning=True)
    if not pool.max_connections and not any(backend.max_connections for backend in pool.backend):
        for key in sorted(pool.model_fields_set & {"queue", "queue_timeout", "when_full"}):
            message = "has no effect without max_connections"
            yield Finding((*at, key), message, ((*at, "max_connections"),), warning=True)


def _listener(at: Key, listener: Listener) -> Iterator[Finding]:
    if listener.proxy_protocol == "accept" and not listener.trusted:
        message = 'anyone could claim any address: name the networks in front, such as trusted = ["10.0.0.0/8"]'
        yield Finding((*at, "proxy_protocol"), message, ((*at, "trusted"),))
    if listener.key == "sni" and listener.mode != "tcp":
        yield Finding((*at, "key"), 'needs mode = "tcp"; in mode "http" the token is the key', ((*at, "mode"),))
    public = [each for each in listener.bind if not each.path and not ip_address(each.host).is_loopback]
    if public and listener.mode == "http" and listener.tls is None and not listener.trusted:
        message = f"tokens cross the network in clear text at {public[0]}: give the listener a tls table"
        reads = tuple((*at, key) for key in ("mode", "tls", "trusted"))
        yield Finding((*at, "bind"), message, reads, warning=True)


def _routes(at: Key, listener: Listener, pools: tuple[Pool, ...]) -> Iterator[Finding]:
    for i, route in enumerate(listener.route):
        key = (*at, "route", i)
        yield from _reference((*key, "pool"), route.pool, pools)
        if not (route.host or route.path or route.path_prefix or route.sni):
            yield Finding(key, "fits everything: give it a host, path, path_prefix or sni")
        if listener.mode == "tcp":
            for name in sorted(route.model_fields_set & {"host", "path", "path_prefix"}):
                message = 'no request is read in mode "tcp": a route there goes by sni'
                yield Finding((*key, name), message, ((*at, "mode"),))
        elif route.sni and listener.tls is None:
            message = "there is no TLS handshake to read it from: give the listener a tls table, or route by host"
            yield Finding((*key, "sni"), message, ((*at, "mode"), (*at, "tls")))


def _reference(at: Key, name: str, pools: tuple[Pool, ...]) -> Iterator[Finding]:
    names = [pool.name for pool in pools]
    if name not in names:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean {shown(close[0])}?" if close else f"there is {', '.join(map(shown, names[:8]))}"
        reads = tuple(("pool", i, "name") for i in range(len(pools)))
        yield Finding(at, f"no pool is named {shown(name)}; {hint}", reads)


def _unused(config: Config) -> Iterator[Finding]:
    used = {listener.pool for listener in config.listener}
    used |= {route.pool for listener in config.listener for route in listener.route}
    if not used <= {pool.name for pool in config.pool}:
        return  # the name that is missing may be meant for the pool that is left over
    reads = tuple(("listener", i, key) for i in range(len(config.listener)) for key in ("pool", "route"))
    for i, pool in enumerate(config.pool):
        if pool.name not in used:
            yield Finding(("pool", i, "name"), "no listener uses this pool", reads, warning=True)


def _before(at: Key, pool: Pool) -> Iterator[Finding]:
    ring = pool.ring
    if ring.before is None:
        if ring.rehomed < 1:
            message = "from where? Give the ring that was in force as before = { algorithm = ... }, or leave this out"
            yield Finding((*at, "rehomed"), message, ((*at, "before"),))
        return
    yield from _ring((*at, "before"), ring.before, pool)
    for key in ("bound", "hash_balance_factor"):
        if getattr(ring.before, key):
            message = "no load is bounded on a ring that is being left: remove it"
            yield Finding((*at, "before", key), message)


def _hashings(pool: Pool) -> list[Hashing]:
    """The ring, and the one before it."""
    return [pool.ring, *([pool.ring.before] if pool.ring.before else [])]


def _ring(at: Key, ring: Hashing, pool: Pool) -> Iterator[Finding]:
    algorithm = (*at, "algorithm")
    for key in sorted(ring.model_fields_set & _ALGORITHMS_OF.keys()):
        if ring.algorithm not in (owners := _ALGORITHMS_OF[key]):
            whose = " or ".join(map(shown, owners))
            message = f"belongs to algorithm = {whose}, not {shown(ring.algorithm)}; remove it"
            yield Finding((*at, key), message, (algorithm,))
    if ring.hash == "blake2b" and not ring.seed:
        message = "blake2b is a keyed hash: give a seed, such as the output of `openssl rand -hex 16`"
        yield Finding((*at, "hash"), message, ((*at, "seed"),))
    if ring.hash == "md5" and ring.seed:
        yield Finding((*at, "seed"), 'has no effect without hash = "blake2b"', ((*at, "hash"), algorithm))
    if ring.seed and len(ring.seed.encode()) < _MIN_SEED_BYTES:
        message = "short enough to be guessed from the ring's fingerprint; take the output of `openssl rand -hex 16`"
        yield Finding((*at, "seed"), message, warning=True)
    if 0 < ring.bound < 1:
        message = f"{ring.bound} of the mean is less room than there are users: 0 is off, 1.25 allows 125 % of the mean"
        yield Finding((*at, "bound"), message)
    if 1 <= ring.hash_balance_factor <= 100:
        message = f"haproxy wants more than 100 (percent of the mean), or 0 for off, not {ring.hash_balance_factor}"
        yield Finding((*at, "hash_balance_factor"), message)
    if ring.bound and ring.hash_balance_factor:
        message = "both bound the load: keep hash_balance_factor to place as haproxy does, or bound"
        yield Finding((*at, "bound"), message, ((*at, "hash_balance_factor"),))
    if ring.algorithm == "maglev":
        yield from _table(at, ring.table_size, len(pool.backend))


def _table(at: Key, size: int, backends: int) -> Iterator[Finding]:
    reads = ((*at, "algorithm"),)
    if not _is_prime(size):
        message = f"{size} is not a prime, so turns would not reach every entry; {_prime_from(size)} is"
        yield Finding((*at, "table_size"), message, reads)
    if size < (least := backends * _ENTRIES_PER_BACKEND):
        message = (
            f"{backends} backends need {least} entries or more, such as {_prime_from(least)}: "
            "below 100 for each, shares differ by more than 1 % (Maglev, NSDI 2016, 5.3)"
        )
        yield Finding((*at, "table_size"), message, reads)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


def _prime_from(number: int) -> int:
    while not _is_prime(number):
        number += 1
    return number


def _backends(at: Key, pool: Pool) -> Iterator[Finding]:
    keys: list[Key] = [(*at, "backend", i) for i in range(len(pool.backend))]
    yield from _repeats(((*key, "name"), each.name) for key, each in zip(keys, pool.backend, strict=True))
    first: dict[Address, Key] = {}
    for key, backend in zip(keys, pool.backend, strict=True):
        yield from _backend(key, backend, (*at, "ring", "algorithm"), pool)
        if key != (twin := first.setdefault(backend.address, key)):
            message = f"{backend.address} is a backend already; for a larger share give that one more weight"
            yield Finding((*key, "address"), message, twin=(*twin, "address"))
    if all(backend.backup for backend in pool.backend):
        message = "every backend is a backup: one at least has to stand on the ring"
        yield Finding((*keys[0], "backup"), message, tuple((*key, "backup") for key in keys))
    elif not any(backend.weight for backend in pool.backend if not backend.backup):
        message = "every backend has weight 0: there is nowhere to send anyone"
        reads = tuple((*key, name) for key in keys for name in ("weight", "backup"))
        yield Finding((*keys[0], "weight"), message, reads)
    if any(ring.algorithm == "haproxy" for ring in _hashings(pool)):
        ids = [((*key, "id"), each.id) for key, each in zip(keys, pool.backend, strict=True)]
        yield from _repeats(((key, given) for key, given in ids if given is not None), ((*at, "ring", "algorithm"),))
    for ring in _hashings(pool):
        yield from _same_points(keys, ring, pool)


def _backend(at: Key, backend: Backend, algorithm: Key, pool: Pool) -> Iterator[Finding]:
    reads = (algorithm, (*algorithm[:-1], "before"))
    algorithms = {ring.algorithm for ring in _hashings(pool)}
    whole = backend.weight.is_integer()
    if not backend.address.path and backend.address.port == 0:
        yield Finding((*at, "address"), "a backend has a port above 0")
    if "haproxy" in algorithms and not whole:
        message = f"haproxy's weights are whole numbers from 0 to 256, not {backend.weight}"
        yield Finding((*at, "weight"), message, reads)
    if "nginx" in algorithms and (not whole or backend.weight < 1):
        yield Finding((*at, "weight"), f"nginx's weights are whole numbers from 1, not {backend.weight}", reads)
    if not backend.guid and any(ring.algorithm == "haproxy" and ring.hash_key == "guid" for ring in _hashings(pool)):
        message = 'missing: hash_key = "guid" makes the points of each backend from its guid'
        yield Finding((*at, "guid"), message, (algorithm, (*algorithm[:-1], "hash_key")))
    if backend.backup and "weight" in backend.model_fields_set:
        message = "has no effect: a backup is not on the ring"
        yield Finding((*at, "weight"), message, ((*at, "backup"),), warning=True)
    for key in sorted(backend.model_fields_set & _ALGORITHM_OF_BACKEND_KEY.keys()):
        if (owner := _ALGORITHM_OF_BACKEND_KEY[key]) not in algorithms:
            message = f"has no effect: it is for algorithm = {shown(owner)}"
            yield Finding((*at, key), message, reads, warning=True)


def _health(pool_at: Key, pool: Pool) -> Iterator[Finding]:
    health, at = pool.health, (*pool_at, "health")
    kind = (*at, "type")
    for key in sorted(health.model_fields_set & _PROBES_OF.keys()):
        empty_table = isinstance(value := getattr(health, key), HealthTls) and not value.model_fields_set
        if health.type not in ("off", *_PROBES_OF[key]) and not empty_table:
            message = f"has no effect: it is for type = {' or '.join(map(shown, _PROBES_OF[key]))}"
            yield Finding((*at, key), message, (kind,), warning=True)
    yield from _intervals(at, health)
    if health.type != "off" and health.timeout > health.interval:
        message = "a probe that takes longer than interval delays the next: give it at most interval"
        yield Finding((*at, "timeout"), message, ((*at, "interval"), kind), warning=True)
    if health.type == "off" and health.agent.port is not None:
        message = 'has no effect with type = "off"; take "tcp" for the least of probes'
        yield Finding((*at, "agent"), message, (kind,), warning=True)
    if health.expect_body and health.method == "HEAD":
        message = "the answer to HEAD has no body: take GET, or leave expect_body out"
        yield Finding((*at, "expect_body"), message, ((*at, "method"),))
    for i, backend in enumerate(pool.backend):
        yield from _probed((*pool_at, "backend", i), backend, at, pool)


def _intervals(at: Key, health: Health | BackendHealth) -> Iterator[Finding]:
    for key in ("interval", "fast_interval", "down_interval"):
        if (interval := getattr(health, key)) is not None and interval < _SHORTEST_INTERVAL:
            yield Finding((*at, key), "probes come every 100ms at most: no host needs more to be noticed")
    if health.fast_interval is not None and health.interval is not None and health.fast_interval > health.interval:
        message = "is for being sure sooner, so it is at most interval"
        yield Finding((*at, "fast_interval"), message, ((*at, "interval"),))


def _probed(at: Key, backend: Backend, health_at: Key, pool: Pool) -> Iterator[Finding]:
    health = pool.health
    target = backend.check_address or backend.address
    yield from _intervals((*at, "health"), backend.health)
    probed = health.type != "off" and backend.check
    if not probed and (unused := sorted(backend.model_fields_set & {"check_address", "health"})):
        why = "pool.health.type" if health.type == "off" else "check"
        if why == "check" or unused == ["health"]:
            message = f"has no effect: {why} says that it is not probed"
            yield Finding((*at, unused[0]), message, ((*health_at, "type"), (*at, "check")), warning=True)
    if backend.check_address and not backend.check_address.path and backend.check_address.port == 0:
        yield Finding((*at, "check_address"), "a backend has a port above 0")
    if (
        health.type == "tls"
        and health.tls.verify
        and target.path
        and (backend.server_name or health.tls.server_name or pool.tls.server_name) is None
    ):
        message = "a Unix socket has no name to find in the certificate: give pool.health.tls a server_name"
        reads = ((*health_at, "type"), (*health_at, "tls"), (*at, "check_address"))
        yield Finding((*at, "address"), message, reads)
    if health.agent.port is not None and backend.address.path:
        message = "a Unix socket has no port for an agent: leave pool.health.agent out"
        yield Finding((*at, "address"), message, ((*health_at, "agent", "port"),))


def _same_points(keys: list[Key], ring: Hashing, pool: Pool) -> Iterator[Finding]:
    """Backends whose names differ, and whose points do not, where the algorithm makes them of something else."""
    at: Key = (*keys[0][:2], "ring")
    reads = tuple((*at, key) for key in ("algorithm", "hash_key", "hash_type", "before"))
    first: dict[object, int] = {}
    for i, backend in enumerate(pool.backend):
        key, made_of = _made_of(backend, ring)
        if made_of is None or i == (twin := first.setdefault(made_of, i)):
            continue
        if key not in _UNIQUE or getattr(backend, key) != getattr(pool.backend[twin], key):  # else it was said already
            message = f"{key} makes the points here, so it must differ from the other backends'"
            yield Finding((*keys[i], key), message, reads, twin=(*keys[twin], key))


def _made_of(backend: Backend, ring: Hashing) -> tuple[str, object]:
    """The key that a backend's points come from, and what two backends may not share of it.

    haproxy counts from ``id * 4096`` in 32 bits, so ids 2^20 apart share all points. Its map-based way has none.
    """
    if ring.algorithm == "nginx":
        return ("server", backend.server) if backend.server else ("address", str(backend.address))
    if ring.algorithm != "haproxy" or ring.hash_type != "consistent":
        return "name", None
    match ring.hash_key:
        case "guid":
            return "guid", backend.guid
        case "addr" if backend.address.host:
            return "address", backend.address.host
        case "id" if backend.id is not None:
            return "id", backend.id % _HAPROXY_ID_PERIOD
        case _:
            return "name", None
