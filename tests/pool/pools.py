"""Pools as the data plane has them, steered as operators steer them."""

from balancer.config.pool import BackendConfig, PoolConfig, RingConfig, TokenConfig
from balancer.control.placement import make_placement
from balancer.overlay.overlay import Overlay
from balancer.pool.digest import Digest
from balancer.pool.pool import Pool
from balancer.ring.build import build

DIGEST = Digest(b"a key")
TOKEN = TokenConfig(duplicates="refuse", decode=True)
"""With all defaults filled in, as in the settings of a worker."""
NOW = 1_700_000_000.0
"""Unix time of every overlay here."""


def config(names, ring=None, linger=30.0):
    """A pool of backends of weight 1."""
    backends = [BackendConfig(name=name, address=f"10.0.0.{n}:4000") for n, name in enumerate(names, start=1)]
    return PoolConfig(
        name="ide", token=TOKEN, ring=RingConfig(**(ring or {})), backend=tuple(backends), linger=f"{linger}s"
    )


def steered(settings, changes=(), ring=None):
    """A placement after ``changes``; without a ring, the one of the configuration."""
    overlay, weights = Overlay(), {backend.name: backend.weight for backend in settings.backend}
    for change in changes:
        overlay = overlay.apply(change, weights, NOW)
    addresses = {backend.name: backend.address for backend in settings.backend}
    addresses |= {name: added.address for name, added in overlay.added.items()}
    return make_placement(ring or build(settings), addresses, overlay, DIGEST, NOW)


def open_pool(names, changes=(), ring=None, linger=30.0):
    settings = config(names, ring, linger)
    return Pool(settings, steered(settings, changes))


def told(pool, token, now=0.0):
    """Every candidate as (backend, rule)."""
    return [(found.backend.name, found.reason) for found in pool.candidates(token, now)]
