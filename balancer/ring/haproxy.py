"""haproxy's placement, with its ids, keys and defaults.

Facts, some of them surprising. ``balance url_param`` alone is map-based with sdbm and no avalanche; ``hash-type
consistent`` alone is sdbm with avalanche, but ``hash-type consistent sdbm`` is without. A weight of 1 makes 16 points.
Names are never hashed: by default points come from a server's id, and a server without one is numbered in the order of
declaration. ``balance source`` hashes the address as a number, whatever function is configured.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, ip_address

from balancer.config.pool import PoolConfig
from balancer.errors import Refused
from balancer.ring.base import Ring
from balancer.ring.haproxy_hash import full_hash, token_hash, xxh32
from balancer.ring.mapped import mapped
from balancer.ring.nearest import nearest

_MASK = 0xFFFFFFFF
_POINTS = 16
"""Points of a server of weight 1."""
_ID_RANGE = 4096
"""Points of the heaviest server, weight 256. Ids equal modulo 2**20 therefore have the same points."""


def haproxy(pool: PoolConfig, weights: Mapping[str, float]) -> Ring:
    """Build the ring that haproxy would build for ``pool``. Raises ``Refused`` for settings that haproxy rejects."""
    ring = pool.ring
    consistent = ring.hash_type == "consistent"
    avalanche = consistent and ring.function is None if ring.avalanche is None else ring.avalanche
    function = "source" if pool.token.source == "client_ip" else ring.function or "sdbm"
    hash = token_hash(function, avalanche)
    keys = _keys(pool)
    declared = {backend.name: weights[backend.name] for backend in pool.backend if backend.name in weights}
    if not consistent:
        return mapped(hash, declared)
    points = [
        (full_hash((keys[name] + node) & _MASK), name)
        for name, weight in declared.items()
        for node in range(max(1, round(_POINTS * weight)))
    ]
    return nearest(hash, points, declared)


def _keys(pool: PoolConfig) -> dict[str, int]:
    """The number from which each backend's points are computed, by ``hash-key``."""
    ids = server_ids([backend.id for backend in pool.backend])
    if len(set(ids)) < len(ids):
        twice = next(number for number in ids if ids.count(number) > 1)
        raise Refused(f'pool "{pool.name}": two backends have id {twice}; ids must be unique')
    keys = {}
    for backend, number in zip(pool.backend, ids, strict=True):
        match pool.ring.hash_key:
            case "id32":
                key = full_hash(int.from_bytes(number.to_bytes(4, "little"), "big"))
            case "guid" if backend.guid is None:
                raise Refused(f'pool "{pool.name}": hash_key = "guid", but "{backend.name}" has no guid')
            case "guid":
                key = xxh32((backend.guid or "").encode(), 0)
            case "addr" | "addr-port" if backend.address.host:
                seed = full_hash(backend.address.port) if pool.ring.hash_key == "addr-port" else 0
                key = _address_key(backend.address.host, seed)
            case _:  # like haproxy, use the id of a server without an IP address
                key = number * _ID_RANGE
        keys[backend.name] = key
    return keys


def _address_key(host: str, seed: int) -> int:
    """Hash an address; an IPv4 address is the number that a little-endian machine reads from its bytes."""
    address = ip_address(host)
    if isinstance(address, IPv4Address):
        return full_hash((seed + int.from_bytes(address.packed, "little")) & _MASK)
    return xxh32(address.packed, seed)


def server_ids(given: Sequence[int | None]) -> list[int]:
    """Return the id of each server: the given one, or the next free one from a counter that counts every server."""
    taken = set(given)
    ids = []
    counter = 1
    for number in given:
        if number is None:
            while counter in taken:
                counter += 1
            number = counter
            taken.add(number)
        counter += 1
        ids.append(number)
    return ids
