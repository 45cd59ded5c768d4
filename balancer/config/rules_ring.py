"""Rules between the keys of a ring, and between backends so that their points differ."""

from collections.abc import Iterator
from math import isqrt

from balancer.config.finding import Finding, Key
from balancer.config.model import Config
from balancer.config.pool import BackendConfig, HashingConfig, PoolConfig
from balancer.config.scalars import shown

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
"""Keys of ``pool.ring`` and the algorithms that use them."""
_MIN_SEED_BYTES = 16
_HAPROXY_ID_PERIOD = 1 << 20
_ENTRIES_PER_BACKEND = 100


def ring_findings(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Yield findings about a ring and the one before it; ``at`` is the key of ``pool.ring``."""
    yield from _ring(at, pool.ring, pool)
    yield from _before(at, pool)


def hashings(pool: PoolConfig) -> list[HashingConfig]:
    """Return the settings of the ring, and of the one before it if there is one."""
    return [pool.ring, *([pool.ring.before] if pool.ring.before else [])]


def _ring(at: Key, ring: HashingConfig, pool: PoolConfig) -> Iterator[Finding]:
    algorithm = (*at, "algorithm")
    for key in sorted(ring.model_fields_set & _ALGORITHMS_OF.keys()):
        if ring.algorithm not in (owners := _ALGORITHMS_OF[key]):
            algorithms = " or ".join(map(shown, owners))
            message = f"belongs to algorithm = {algorithms}, not {shown(ring.algorithm)}; remove it"
            yield Finding((*at, key), message, (algorithm,))
    if ring.hash == "blake2b" and not ring.seed:
        message = "blake2b is a keyed hash: set seed, for example to the output of `openssl rand -hex 16`"
        yield Finding((*at, "hash"), message, ((*at, "seed"),))
    if ring.hash == "md5" and ring.seed:
        yield Finding((*at, "seed"), 'has no effect without hash = "blake2b"', ((*at, "hash"), algorithm))
    if ring.seed and len(ring.seed.encode()) < _MIN_SEED_BYTES:
        message = "short enough to be guessed from the ring's fingerprint; use the output of `openssl rand -hex 16`"
        yield Finding((*at, "seed"), message, warning=True)
    if 0 < ring.bound < 1:
        message = f"must be 0 (off) or at least 1, not {ring.bound}; 1.25 allows 125 % of the mean"
        yield Finding((*at, "bound"), message)
    if 1 <= ring.hash_balance_factor <= 100:
        message = f"must be 0 (off) or more than 100 (percent of the mean), not {ring.hash_balance_factor}"
        yield Finding((*at, "hash_balance_factor"), message)
    if ring.bound and ring.hash_balance_factor:
        message = "hash_balance_factor bounds the load already: keep only that, to place as haproxy does, or only bound"
        yield Finding((*at, "bound"), message, ((*at, "hash_balance_factor"),))
    if ring.algorithm == "maglev":
        yield from _table(at, ring.table_size, len(pool.backend))


def _table(at: Key, size: int, backends: int) -> Iterator[Finding]:
    reads = ((*at, "algorithm"),)
    if not _is_prime(size):
        message = f"{size} is not a prime number; {_prime_from(size)} is"
        yield Finding((*at, "table_size"), message, reads)
    if size < (least := backends * _ENTRIES_PER_BACKEND):
        message = (
            f"{backends} backends need at least {least} entries, such as {_prime_from(least)}: "
            "with fewer than 100 each, shares differ by more than 1 % (Maglev, NSDI 2016, 5.3)"
        )
        yield Finding((*at, "table_size"), message, reads)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


def _prime_from(number: int) -> int:
    while not _is_prime(number):
        number += 1
    return number


def _before(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    ring = pool.ring
    if ring.before is None:
        if ring.rehomed < 1:
            message = "needs the previous ring: set before = { algorithm = ... }, or remove rehomed"
            yield Finding((*at, "rehomed"), message, ((*at, "before"),))
        return
    yield from _ring((*at, "before"), ring.before, pool)
    for key in ("bound", "hash_balance_factor"):
        if getattr(ring.before, key):
            message = "the load is not bounded on the previous ring: remove it"
            yield Finding((*at, "before", key), message)


def tier_findings(config: Config) -> Iterator[Finding]:
    """Yield pools of balancers that place by what the tier below may place by as well.

    Each balancer there would then get the tokens of one part of its own ring, and use few of its hosts.
    """
    first: dict[tuple[str, str], Key] = {}
    for i, pool in enumerate(config.pool):
        if not pool.tier:
            first.setdefault((pool.ring.hash, pool.ring.seed), ("pool", i, "ring"))
    for i, pool in enumerate(config.pool):
        ring, at = pool.ring, ("pool", i, "ring")
        if not pool.tier or ring.algorithm not in _ALGORITHMS_OF["hash"]:
            continue
        reads = tuple((*at, key) for key in ("algorithm", "hash", "seed"))
        if ring.hash == "md5":
            message = (
                "balancers that place by the same hash get the tokens of one part of their rings only: "
                'set hash = "blake2b" and a seed of its own'
            )
            yield Finding((*at, "hash"), message, reads, warning=True)
        elif twin := first.get((ring.hash, ring.seed)):
            message = "another tier has the same: give each a seed of its own"
            yield Finding((*at, "seed"), message, (*reads, (*twin, "hash")), (*twin, "seed"), warning=True)


def points_findings(pool_at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Yield backends that have the same points although their names differ, as some algorithms do not hash names."""
    for ring in hashings(pool):
        yield from _same_points(pool_at, ring, pool)


def _same_points(pool_at: Key, ring: HashingConfig, pool: PoolConfig) -> Iterator[Finding]:
    at = (*pool_at, "ring")
    keys: list[Key] = [(*pool_at, "backend", i) for i in range(len(pool.backend))]
    reads = tuple((*at, key) for key in ("algorithm", "hash_key", "hash_type", "before"))
    first: dict[object, int] = {}
    for i, backend in enumerate(pool.backend):
        key, made_of = _made_of(backend, ring)
        if made_of is None or i == (twin := first.setdefault(made_of, i)):
            continue
        if key != "id" or getattr(backend, key) != getattr(pool.backend[twin], key):  # others report equal ids
            message = f"must differ from the other backends': this algorithm computes points from {key}"
            yield Finding((*keys[i], key), message, reads, twin=(*keys[twin], key))


def _made_of(backend: BackendConfig, ring: HashingConfig) -> tuple[str, object]:
    """The key that a backend's points are computed from, and the part of it that two backends may not share.

    haproxy starts at ``id * 4096`` in 32 bits, so ids 2^20 apart share all points. Its map-based tables have no points.
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
