"""Pools to build rings from."""

from balancer.config.pool import BackendConfig, PoolConfig, RingConfig

ALGORITHMS = {
    "ring": {"algorithm": "ring"},
    "keyed ring": {"algorithm": "ring", "hash": "blake2b", "seed": "a long random text"},
    "ketama": {"algorithm": "ketama"},
    "nginx": {"algorithm": "nginx"},
    "haproxy consistent": {"algorithm": "haproxy", "hash_type": "consistent"},
    "haproxy map-based": {"algorithm": "haproxy"},
    "maglev": {"algorithm": "maglev", "table_size": 1009},
    "rendezvous": {"algorithm": "rendezvous"},
}
TOKENS = [b"token-%d" % number for number in range(400)]


def pool(weights, ring=None, ids=True):
    """A pool of backends by name and weight; each has the id and the address that go with its name."""
    backends = [
        BackendConfig(
            name=name,
            address=f"10.0.0.{1 + sum(name.encode()) % 250}:{1000 + int.from_bytes(name.encode()[-2:], 'big') % 60000}",
            weight=float(weight),
            id=1 + int.from_bytes(name.encode(), "big") % 100003 if ids else None,
        )
        for name, weight in weights.items()
    ]
    return PoolConfig(name="ide", ring=RingConfig(**(ring or {})), backend=tuple(backends))
