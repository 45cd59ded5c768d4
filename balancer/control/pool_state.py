"""What is kept of one pool: its configuration, what operators have decided on top of it, and the ring that makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import trio

from balancer.config import model
from balancer.config.scalars import Address
from balancer.health.tracker import Checks, HealthTracker, judged_by
from balancer.overlay.overlay import Overlay
from balancer.pool.pool import Pool
from balancer.ring.base import Ring


@dataclass
class PoolState:
    """What is kept of one pool."""

    pool: Pool
    config: model.Pool
    overlay: Overlay
    ring: Ring
    weights: Mapping[str, float]
    """Weights the ring was built with."""
    health: dict[str, HealthTracker] = field(default_factory=dict)
    """What probes, agents and traffic say of the backends, where anybody asks them."""
    checks: dict[str, Checks] = field(default_factory=dict)
    """What was counted of that, also of backends that nobody asks about at present."""

    @property
    def configured(self) -> dict[str, float]:
        """Weights in the configuration."""
        return {backend.name: backend.weight for backend in self.config.backend}

    def begin_health(self, backend: str) -> HealthTracker:
        """From now on somebody asks about this backend."""
        checks = self.checks.setdefault(backend, Checks())
        health = self.health[backend] = HealthTracker(judged_by(self.config, backend), checks)
        return health


def version(pool_state: PoolState) -> str:
    """What a plan or a conditional request refers to: the ring and the overlay of this moment."""
    return f"{pool_state.ring.fingerprint}-{pool_state.overlay.version}"


def weights_in_force(pool_state: PoolState, overlay: Overlay, now: float) -> dict[str, float]:
    """Weights in force: what operators want, times what agents ask for and as much as a slow start gives by now.

    Unless that leaves nobody to take users. In panic they go to backends that are out, which need all their points.
    ``now`` is Unix time.
    """
    weights = overlay.live_weights(pool_state.configured, now)
    asked = dict(weights)
    for name, health in pool_state.health.items():
        share = health.percent / 100 * _warmth(pool_state, health)
        if name in weights and share != 1:
            asked[name] = _scaled(weights[name], share, pool_state.config.ring.algorithm)
    usable = any(weight > 0 and overlay.state(name) == "ready" for name, weight in asked.items())
    return asked if usable else weights


def _warmth(pool_state: PoolState, health: HealthTracker) -> float:
    """Share of its points that a backend has in its present health.

    haproxy's map is made anew when a server is lost or comes back, so that nearly everybody moves; whoever takes over
    from it has to move alike, and at once.
    """
    if pool_state.pool.panic:
        return 1.0
    ring = pool_state.config.ring
    if ring.algorithm == "haproxy" and ring.hash_type != "consistent":
        return 0.0 if health.out else 1.0
    return health.warmth(trio.current_time())


def _scaled(weight: float, share: float, algorithm: str) -> float:
    """haproxy and nginx know whole weights only, nginx none below 1."""
    scaled = weight * share
    if algorithm == "nginx":
        return max(1.0, float(ceil(scaled)))
    return float(ceil(scaled)) if algorithm == "haproxy" else scaled


def extended(config: model.Pool, overlay: Overlay) -> model.Pool:
    """The pool with the backends that were added live and are not in its configuration by now."""
    configured = {backend.name for backend in config.backend}
    added = tuple(
        model.Backend(name=add.name, address=add.address, weight=add.weight)
        for add in overlay.added.values()
        if add.name not in configured
    )
    return config.model_copy(update={"backend": config.backend + added}) if added else config


def addresses(config: model.Pool, overlay: Overlay) -> dict[str, Address]:
    """Addresses of all backends of a pool."""
    return {backend.name: backend.address for backend in extended(config, overlay).backend}


def backups(config: model.Pool) -> tuple[str, ...]:
    """Backends that stand in for the others, in the order of the configuration."""
    return tuple(backend.name for backend in config.backend if backend.backup)
