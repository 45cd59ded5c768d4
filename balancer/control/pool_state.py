"""What control knows and has decided about one pool.

The owner of each thing is here: the configuration and what operators decided on top of it (overlay), the ring and the
placement that makes, health, where users are (leases), and what the workers have counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import trio

from balancer.config.plain import pool_settings
from balancer.config.pool import BackendConfig, PoolConfig, RingConfig
from balancer.config.scalars import Address
from balancer.config.settings import BackendTlsSettings
from balancer.control.worker_counts import BackendCounts, PoolCounts, backend_counts
from balancer.health.availability import AVAILABLE, Availability
from balancer.health.tally import Tally
from balancer.health.tracker import Checks, HealthTracker, judged_by, unprobed
from balancer.overlay.overlay import Overlay
from balancer.pool.counts import Counts
from balancer.pool.placement import Placement
from balancer.pool.selection import Selection
from balancer.ring.base import Ring


class BackendState:
    """A backend. Its identity is the name, so health and counters survive a change of address."""

    __slots__ = ("address", "availability", "counts", "name", "tally")

    def __init__(self, name: str, address: Address, availability: Availability) -> None:
        self.name = name
        self.address = address
        self.availability = availability
        self.counts = BackendCounts()
        """Sum over all workers."""
        self.tally = Tally()
        """Results of its traffic since the outlier monitor last took them."""

    def held_off(self, now: float) -> str:
        """Return why other backends are preferred for a moment, or an empty string."""
        return "failed to connect" if self.counts.held else ""

    def unavailable(self) -> str:
        """Return why it is not available, or an empty string."""
        return self.availability.reason or self.held_off(0.0)

    def take_tally(self) -> Tally:
        """Return the results of its traffic since the last call."""
        taken, self.tally = self.tally, Tally()
        return taken


@dataclass
class RemovedBackend:
    """A backend that is not in the pool any more, while tunnels or requests are left on it."""

    address: str
    """Empty if it is not known any more."""
    since: float
    """Unix time at which it was removed."""
    counts: BackendCounts = field(default_factory=BackendCounts)


class PoolState(Selection[BackendState]):
    """The state of a pool."""

    def __init__(
        self,
        config: PoolConfig,
        overlay: Overlay,
        ring: Ring,
        weights: Mapping[str, float],
        placement: Placement,
    ) -> None:
        super().__init__(pool_settings(config, BackendTlsSettings()), placement, {})
        self.leases.moved = set()
        self.config = config
        self.overlay = overlay
        self.counts = PoolCounts()
        """Sum over all workers."""
        self.removed: dict[str, RemovedBackend] = {}
        self.health: dict[str, HealthTracker] = {}
        """Health of the backends with probes, an agent check or passive checks."""
        self.checks: dict[str, Checks] = {}
        """Counters of checks, also of backends that are not checked now."""
        self.place(ring, weights, placement)

    @property
    def name(self) -> str:
        """Name of the pool."""
        return self.config.name

    @property
    def version(self) -> str:
        """The version that plans and ``If-Match`` refer to: of the ring and the overlay."""
        return f"{self.ring.fingerprint}-{self.overlay.version}"

    @property
    def configured(self) -> dict[str, float]:
        """Weights in the configuration."""
        return configured_weights(self.config)

    def configure(self, config: PoolConfig) -> None:
        """Use another configuration of the same pool."""
        self.config = config
        self.settings = pool_settings(config, BackendTlsSettings())
        self.leases.linger = config.linger

    def place(self, ring: Ring, weights: Mapping[str, float], placement: Placement) -> None:
        """Use ``ring``, built with ``weights``, and the placement over it. Backends that stay keep their state."""
        self.ring, self.weights, self.placement = ring, weights, placement
        known, new = self.backends, unprobed(self.config, placement.addresses)
        self.backends = {}
        for name, address in placement.addresses.items():
            backend = known.get(name) or BackendState(name, address, new.get(name, AVAILABLE))
            backend.address = address
            self.backends[name] = backend
        self.weigh_health()

    def backend_counts(self) -> list[BackendCounts]:
        """Return the counts of all backends, those included that were removed and still carry something."""
        present = [backend.counts for backend in self.backends.values()]
        return [*present, *(removed.counts for removed in self.removed.values())]

    def count(self, counters: Counts, gauges: Counts, now: float, *, of_all: bool) -> None:
        """Take the sum of what workers have counted, if ``of_all`` without exception; see ``pool.counts``."""
        self.counts.show(counters)
        for backend in self.backends.values():
            backend.counts = backend_counts(backend.name, counters, gauges)
        left = {name: backend_counts(name, counters, gauges) for name in gauges.get("backends", {})}
        for name in left.keys() - self.backends.keys():
            if left[name].active:
                self.removed.setdefault(name, RemovedBackend("", now)).counts = left[name]
        if of_all:
            for name in [name for name in self.removed if name not in left or not left[name].active]:
                del self.removed[name]

    def update_availability(self, availabilities: Mapping[str, Availability]) -> None:
        """Update availabilities; backends that have been removed are ignored."""
        for name, availability in availabilities.items():
            if name in self.backends:
                self.backends[name].availability = availability
        self.weigh_health()

    def weigh_health(self) -> None:
        super().weigh_health()
        placement = self.placement
        aside = {*placement.states, *placement.backups}
        members = (name for name, weight in placement.weights.items() if weight > 0 and name not in aside)
        if not any(self.backends[name].availability.clear for name in members):
            for health in self.health.values():
                health.share_outage()

    def begin_health(self, backend: str, *, outage: bool = False) -> HealthTracker:
        """Start to track the health of a backend. ``outage``: none of the pool has been up yet."""
        checks = self.checks.setdefault(backend, Checks(outage=outage))
        health = self.health[backend] = HealthTracker(judged_by(self.config, backend), checks)
        return health

    def carried(self, name: str) -> int:
        """Return what counts against the bound of a backend: its users; as in haproxy, its streams."""
        return self.leases.users[name] if self.settings.ring.bound else self.backends[name].counts.active

    def live_weights(self, overlay: Overlay, now: float, config: PoolConfig | None = None) -> dict[str, float]:
        """Return the weights for ``overlay``, and another configuration of the pool, at Unix time ``now``.

        They are what operators want, times what agents ask for and as much as a slow start gives by now; unless that
        leaves no backend to take users. In panic users go to backends that are down, which need all their points.
        """
        config = config or self.config
        weights = overlay.live_weights(configured_weights(config), now)
        asked = dict(weights)
        for name, health in self.health.items():
            share = health.weight_percent / 100 * self._warmth(health, config.ring)
            if name in weights and share != 1:
                asked[name] = _scaled(weights[name], share, config.ring.algorithm)
        usable = any(weight > 0 and overlay.state(name) == "ready" for name, weight in asked.items())
        return asked if usable else weights

    def _warmth(self, health: HealthTracker, ring: RingConfig) -> float:
        """Return the share of its points that a backend has in its current health.

        haproxy's map is made anew when a server is lost or comes back, so that nearly everybody moves; a balancer that
        takes over from it has to move users alike, and at once.
        """
        if self.panic:
            return 1.0
        if ring.algorithm == "haproxy" and ring.hash_type != "consistent":
            return 0.0 if health.out else 1.0
        return health.warmth(trio.current_time())


def configured_weights(config: PoolConfig) -> dict[str, float]:
    """Return the weights in a configuration."""
    return {backend.name: backend.weight for backend in config.backend}


def _scaled(weight: float, share: float, algorithm: str) -> float:
    """Round for haproxy and nginx, which have whole weights; nginx has none below 1."""
    scaled = weight * share
    if algorithm == "nginx":
        return max(1.0, float(ceil(scaled)))
    return float(ceil(scaled)) if algorithm == "haproxy" else scaled


def extended(config: PoolConfig, overlay: Overlay) -> PoolConfig:
    """Return the pool with the backends that were added at run time."""
    configured = {backend.name for backend in config.backend}
    added = tuple(
        BackendConfig(name=add.name, address=add.address, weight=add.weight)
        for add in overlay.added.values()
        if add.name not in configured
    )
    return config.model_copy(update={"backend": config.backend + added}) if added else config


def addresses(config: PoolConfig, overlay: Overlay) -> dict[str, Address]:
    """Return the addresses of all backends of a pool."""
    return {backend.name: backend.address for backend in extended(config, overlay).backend}


def backups(config: PoolConfig) -> tuple[str, ...]:
    """Return the backup backends, in the order of the configuration."""
    return tuple(backend.name for backend in config.backend if backend.backup)
