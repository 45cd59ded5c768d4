"""The points of uhashring's and of nginx's rings, as ends of arcs.

Facts about uhashring (2.4, 2.5) that determine how it is called: weights must be whole numbers, and a weight or number
of points of 0 breaks removal later; its ketama ring distributes points in proportion to the weights and silently gives
a tiny weight none; of two equal points the backend added last keeps it. So we pass explicit numbers of points, at least
one, with weight 1 each, in the order of names, and build one ring that is never changed.
"""

import math
import zlib
from collections.abc import Mapping

from uhashring import HashRing

from balancer.ring.hashes import TokenHash


def fixed_points(hash: TokenHash, weights: Mapping[str, float], points: int) -> dict[int, str]:
    """Return the points of ``ring``: ``points * weight`` for each backend, whatever the others are.

    A change therefore moves only what it must. As in uhashring, a hash that equals a point belongs to the next one.
    """

    counts = {name: max(1, round(points * weight)) for name, weight in weights.items()}
    size = 1 << hash.bits
    return _build(counts, hash_fn=lambda text: (hash.function(text.encode()) - 1) % size)


def ketama_points(weights: Mapping[str, float]) -> dict[int, str]:
    """Return the points of ``ketama``: four from each of ``floor(40 * backends * weight / sum of weights)`` MD5 hashes.

    libketama computes that floor with 32-bit floats, which for 61, 122, 237 … equal backends gives 39 instead of 40;
    uhashring and we compute it exactly.
    """
    total = math.fsum(weights.values())
    counts = {name: max(1, int(40 * len(weights) * weight // total)) for name, weight in weights.items()}
    return _build(counts, hash_fn="ketama")


def nginx_points(servers: Mapping[str, str], weights: Mapping[str, float]) -> dict[int, str]:
    """Return the points of ``nginx``: for each server string a chain of ``160 * weight`` CRC-32 values.

    Each value is over the host, a zero byte, the port, and the previous value as four bytes, little-endian, as in
    Cache::Memcached::Fast (nginx, ``ngx_http_upstream_init_chash``). Of equal points the first by name counts.
    """
    points: dict[int, str] = {}
    for name, weight in weights.items():
        host, port = _host_and_port(servers[name])
        base = zlib.crc32(f"{host}\0{port}".encode())
        point = 0
        for _ in range(max(1, round(160 * weight))):
            point = zlib.crc32(point.to_bytes(4, "little"), base)
            points.setdefault(point, name)
    return points


def _host_and_port(server: str) -> tuple[str, str]:
    """Split as nginx does: the port is the digits after the last colon; the path of a Unix socket has none."""
    if server[:5].lower() == "unix:":
        return server[5:], ""
    host, colon, port = server.rpartition(":")
    return (host, port) if colon and port.strip("0123456789") == "" else (server, "")


def _build(counts: Mapping[str, int], hash_fn: object) -> dict[int, str]:
    nodes = {name: {"vnodes": counts[name], "weight": 1} for name in sorted(counts)}
    points: dict[int, str] = HashRing(nodes, hash_fn=hash_fn).ring
    return points
