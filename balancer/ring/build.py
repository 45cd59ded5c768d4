"""Build the ring of a pool from its configuration."""

import math
from collections.abc import Mapping

from balancer.config.pool import PoolConfig
from balancer.errors import Refused
from balancer.ring.base import Ring
from balancer.ring.circle import Circle
from balancer.ring.haproxy import haproxy
from balancer.ring.hashes import CRC32, KETAMA, MD5, TokenHash, blake2b
from balancer.ring.maglev import maglev
from balancer.ring.points import fixed_points, ketama_points, nginx_points
from balancer.ring.rehoming import rehoming
from balancer.ring.rendezvous import rendezvous


def build(pool: PoolConfig, weights: Mapping[str, float] | None = None) -> Ring:
    """Build the ring of ``pool``; ``weights`` override the configured ones by backend name (slow start, drain).

    A backend of weight 0 is not on the ring. Raises ``Refused`` for weights and settings that make no valid ring. The
    loader reports those by line too, but a pool may also come from the admin API.
    """
    live = _live_weights(pool, weights or {})
    ring, before = pool.ring, pool.ring.before
    if before is None or ring.rehomed == 1:
        return _built(pool, live)
    left = _built(pool.model_copy(update={"ring": before}), live)
    return left if ring.rehomed == 0 else rehoming(left, _built(pool, live), ring.rehomed)


def _built(pool: PoolConfig, live: Mapping[str, float]) -> Ring:
    match pool.ring.algorithm:
        case "ring":
            hash = _token_hash(pool)
            return Circle.build(hash, fixed_points(hash, live, pool.ring.points), live)
        case "ketama":
            return Circle.build(KETAMA, ketama_points(live), live)
        case "nginx":
            return Circle.build(CRC32, nginx_points(_servers(pool), live), live)
        case "haproxy":
            return haproxy(pool, live)
        case "maglev":
            return _maglev(pool, live)
        case "rendezvous":
            return rendezvous(_token_hash(pool), live)


def _live_weights(pool: PoolConfig, overrides: Mapping[str, float]) -> dict[str, float]:
    """Weights above zero of all backends but backups, sorted by name."""
    weights = {backend.name: backend.weight for backend in pool.backend}
    if len(weights) < len(pool.backend):
        raise Refused(f'pool "{pool.name}": two backends have the same name; names must be unique')
    if unknown := sorted(overrides.keys() - weights.keys()):
        raise Refused(f'pool "{pool.name}" has no backend "{unknown[0]}"; it has {", ".join(sorted(weights))}')
    weights.update(overrides)
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise Refused(f'pool "{pool.name}": the weight of "{name}" must be a number of at least 0, not {weight}')
    backups = {backend.name for backend in pool.backend if backend.backup}
    live = {name: weights[name] for name in sorted(weights.keys() - backups) if weights[name] > 0}
    if not live:
        raise Refused(
            f'pool "{pool.name}": every weight is 0, so the ring would be empty; raise the weight of a backend'
        )
    return live


def _token_hash(pool: PoolConfig) -> TokenHash:
    return blake2b(pool.ring.seed) if pool.ring.hash == "blake2b" else MD5


def _servers(pool: PoolConfig) -> dict[str, str]:
    """nginx's server strings, which must be unique: backends with equal strings would share every point."""
    servers = {backend.name: backend.server or str(backend.address) for backend in pool.backend}
    if len(set(servers.values())) < len(servers):
        raise Refused(
            f'pool "{pool.name}": two backends have the same nginx server string; set a unique "server" for each'
        )
    return servers


def _maglev(pool: PoolConfig, live: Mapping[str, float]) -> Ring:
    hash = _token_hash(pool)
    try:
        return maglev(hash, live, pool.ring.table_size)
    except ValueError as error:
        raise Refused(f'pool "{pool.name}": table_size: {error}') from None
