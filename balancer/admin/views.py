"""What there is to say about pools and backends at this moment, as plain values for JSON and for metrics."""

from collections.abc import Mapping
from typing import Any, get_args

from balancer.admin.periodic_counts import PeriodicCounts
from balancer.admin.services import Services
from balancer.control.evictions import Settling
from balancer.control.pool_state import PoolState, version
from balancer.health.availability import Availability
from balancer.health.outliers import Outcome
from balancer.health.tracker import HealthTracker
from balancer.overlay.overlay import Ramp


class Views:
    """Reads counters and decisions where they are; what takes long to count is that of the last ``scan``."""

    def __init__(self, services: Services, scan: PeriodicCounts) -> None:
        self.scan = scan
        self._services = services

    def takes_new(self, pool_state: PoolState, backend: str) -> bool:
        """Would a new user be placed there now?"""
        placement = pool_state.pool.placement
        if placement.refuses(backend, None):
            return False
        if pool_state.pool.left_out(pool_state.pool.backends[backend], None, self._services.now()):
            return False
        if backend in placement.ring.weights:
            return True
        before = placement.backups[: placement.backups.index(backend)] if backend in placement.backups else None
        return before is not None and not any(
            self.takes_new(pool_state, name) for name in (*placement.ring.members, *before)
        )

    def pool(self, pool_state: PoolState) -> dict[str, Any]:
        """A pool in numbers."""
        pool, name = pool_state.pool, pool_state.config.name
        return {
            "name": name,
            "version": version(pool_state),
            "algorithm": pool_state.config.ring.algorithm,
            "fingerprint": pool_state.ring.fingerprint,
            "backends": len(pool.backends),
            "healthy": pool.healthy,
            "panic": pool.panic,
            "available": sum(self.takes_new(pool_state, backend) for backend in pool.backends),
            "users": sum(pool.leases.users.values()),
            "tunnels": sum(backend.tunnels for backend in pool.backends.values()),
            "pins": len(pool_state.overlay.pins),
            "strays": self.scan.strays.get(name),
            "decisions": dict(pool.decisions),
            "retries": pool.retries.made,
            "retries_given_up": {str(limit): number for limit, number in pool.retries.given_up.items()},
            "refused_by_rate": pool.refused,
            "requests": pool.traffic.by_class(),
            "request_seconds": pool.traffic.seconds.plain(),
        }

    def backends(self, pool_state: PoolState) -> list[dict[str, Any]]:
        """Every backend of a pool."""
        configured = pool_state.configured
        return [self._backend(pool_state, name, configured) for name in pool_state.pool.backends]

    def backend(self, pool_state: PoolState, name: str) -> dict[str, Any]:
        """One backend: what was decided about it, how it is, and what it has served."""
        return self._backend(pool_state, name, pool_state.configured)

    def _backend(self, pool_state: PoolState, name: str, configured: Mapping[str, float]) -> dict[str, Any]:
        backend = pool_state.pool.backends[name]
        rings = self.scan.rings.get(pool_state.config.name)
        state, ramp = pool_state.overlay.states.get(name), pool_state.overlay.weights.get(name)
        down = backend.unavailable(self._services.now())
        return {
            "name": name,
            "address": str(backend.address),
            "state": pool_state.overlay.state(name),
            "backup": name in pool_state.pool.placement.backups,
            "state_since": state.since if state else None,
            "up": not down,
            "why_down": down or None,
            "health": self._health(pool_state.health.get(name), backend.availability),
            "takes_new": self.takes_new(pool_state, name),
            "weight": pool_state.weights[name],
            "configured_weight": configured.get(name),
            "ramp": _ramp(ramp, self._services.controller.wall()) if ramp else None,
            "share": rings.shares.get(name, 0.0) if rings else None,
            "users": pool_state.pool.leases.users[name],
            "tunnels": backend.tunnels,
            "sessions": backend.active,
            "max_connections": backend.load.limit or None if backend.load is not None else None,
            "queued": backend.queued,
            "full": backend.full,
            "requests": backend.requests,
            "connects": backend.connects,
            "connect_errors": backend.connect_errors,
            "response_errors": backend.response_errors,
            "bytes_sent": backend.bytes_in,
            "bytes_received": backend.bytes_out,
        }

    def _health(self, health: HealthTracker | None, availability: Availability) -> dict[str, Any] | None:
        """What probes say; None if there are none."""
        if health is None:
            return None
        now = self._services.now()
        return {
            "state": health.state,
            "for": None if health.since is None else now - health.since,
            "last": health.text,
            "seconds": health.seconds,
            "passed": health.checks.passed,
            "failed": health.checks.failed,
            "changes": health.checks.changes,
            "wish": health.requested_state or None,
            "percent": health.percent,
            "ejected": availability.ejected or None,
            "ejected_for": max(0.0, health.ejection.until - now) if availability.ejected else None,
            "ejections": {outcome: health.checks.ejections[outcome] for outcome in get_args(Outcome)},
            "points": health.warmth(now),
        }


def settling_facts(work: Settling | None) -> dict[str, Any] | None:
    """How far sending strays home is; None if nobody has asked for it."""
    if work is None:
        return None
    return {
        "rate": work.rate,
        "strays": work.strays,
        "moved": work.moved,
        "skipped": work.skipped,
        "done": work.done,
    }


def reload_facts(services: Services) -> dict[str, Any]:
    """The generation in force, and the last reload."""
    active, done = services.registry.active, services.reloader.last
    found = {"time": done.time, "who": done.who, "ok": done.ok, "problems": done.problems} if done else None
    return {"generation": active.generation, "since": active.since, "last_reload": found}


def _ramp(ramp: Ramp, wall: float) -> dict[str, Any] | None:
    """A weight on its way; none once it has arrived."""
    left = ramp.over - ramp.passed(wall)
    if left <= 0:
        return None
    return {"from": ramp.start, "to": ramp.target, "over": ramp.over, "left": left, "paused": ramp.paused}
