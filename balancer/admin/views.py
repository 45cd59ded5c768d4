"""Pools and backends as plain values, for JSON and for metrics."""

from collections.abc import Mapping
from typing import Any, get_args

import trio

from balancer.admin.periodic_counts import PeriodicCounts
from balancer.admin.services import Services
from balancer.control.deadlines import cut_times
from balancer.control.evictions import Settling
from balancer.control.pool_state import PoolState
from balancer.control.worker_counts import BackendCounts
from balancer.health.availability import Availability
from balancer.health.outliers import Outcome
from balancer.health.tracker import HealthTracker
from balancer.overlay.overlay import Ramp
from balancer.overlay.unfiled import Unfiled, unfiled


class Views:
    """Reads the present state; numbers that take long to count are from the last ``scan``."""

    def __init__(self, services: Services, scan: PeriodicCounts) -> None:
        self.scan = scan
        self._services = services

    def pool(self, pool: PoolState) -> dict[str, Any]:
        """Return a pool."""
        counts, name, now = pool.counts, pool.name, trio.current_time()
        return {
            "name": name,
            "version": pool.version,
            "algorithm": pool.config.ring.algorithm,
            "fingerprint": pool.ring.fingerprint,
            "backends": len(pool.backends),
            "healthy": pool.healthy,
            "panic": pool.panic,
            "available": sum(pool.takes_new(backend, now) for backend in pool.backends),
            "users": sum(pool.leases.users.values()),
            "tunnels": sum(counts.tunnels for counts in pool.backend_counts()),
            "pins": len(pool.overlay.pins),
            "strays": self.scan.strays.get(name),
            "decisions": dict(counts.decisions),
            "retries": counts.retries,
            "retries_given_up": {str(limit): number for limit, number in counts.given_up.items()},
            "refused_by_rate": counts.refused,
            "requests": counts.traffic.by_class(),
            "request_seconds": counts.traffic.seconds.plain(),
        }

    def backends(self, pool_state: PoolState) -> list[dict[str, Any]]:
        """Return every backend of a pool."""
        configured = pool_state.configured
        present = [self._backend(pool_state, name, configured) for name in pool_state.backends]
        return [*present, *(self._removed(pool_state, name) for name in pool_state.removed)]

    def not_in_file(self, pool_state: PoolState) -> list[dict[str, Any]]:
        """Return what operators decided about the backends of a pool that is not in the file."""
        found = unfiled(pool_state.overlay, pool_state.configured, self._services.wall())
        return [unfiled_facts(pool_state.name, each) for each in found]

    def backend(self, pool_state: PoolState, name: str) -> dict[str, Any]:
        """Return one backend: its state, health and counters."""
        return self._backend(pool_state, name, pool_state.configured)

    def _backend(self, pool_state: PoolState, name: str, configured: Mapping[str, float]) -> dict[str, Any]:
        backend = pool_state.backends[name]
        counts = backend.counts
        limits = {each.name: each.max_connections for each in pool_state.config.backend}
        limit = limits.get(name)
        rings = self.scan.rings.get(pool_state.name)
        state, ramp = pool_state.overlay.states.get(name), pool_state.overlay.weights.get(name)
        down = backend.unavailable()
        return {
            "name": name,
            "address": str(backend.address),
            "state": pool_state.overlay.state(name),
            "backup": name in pool_state.placement.backups,
            "state_since": state.since if state else None,
            **self._cut(pool_state, name),
            "up": not down,
            "why_down": down or None,
            "health": self._health(pool_state.health.get(name), backend.availability, pool_state),
            "takes_new": pool_state.takes_new(name, trio.current_time()),
            "weight": pool_state.weights[name],
            "configured_weight": configured.get(name),
            "ramp": _ramp(ramp, self._services.wall()) if ramp else None,
            "share": rings.shares.get(name, 0.0) if rings else None,
            "users": pool_state.leases.users[name],
            "max_connections": (pool_state.config.max_connections if limit is None else limit) or None,
            **_counted(counts),
        }

    def _cut(self, pool_state: PoolState, name: str) -> dict[str, float | None]:
        """When the tunnels that are left are closed."""
        at = cut_times(self._services.config, pool_state).get(name)
        return {"cut_at": at, "cut_in": None if at is None else max(0.0, at - self._services.wall())}

    def _removed(self, pool_state: PoolState, name: str) -> dict[str, Any]:
        """A backend that was removed while tunnels or requests were left on it."""
        removed = pool_state.removed[name]
        return {
            "name": name,
            "address": removed.address,
            "state": "removed",
            "backup": False,
            "state_since": removed.since,
            **self._cut(pool_state, name),
            "up": True,
            "why_down": None,
            "health": None,
            "takes_new": False,
            "weight": 0.0,
            "configured_weight": None,
            "ramp": None,
            "share": 0.0,
            "users": pool_state.leases.users[name],
            "max_connections": None,
            **_counted(removed.counts),
        }

    def _health(
        self, health: HealthTracker | None, availability: Availability, pool_state: PoolState
    ) -> dict[str, Any] | None:
        """Return what probes say; None without probes."""
        if health is None:
            return None
        now = trio.current_time()
        return {
            "state": health.state,
            "for": None if health.since is None else now - health.since,
            "last": health.text,
            "seconds": health.seconds,
            "passed": health.checks.passed,
            "failed": health.checks.failed,
            "changes": health.checks.changes,
            "wish": health.requested_state or None,
            "percent": health.weight_percent,
            "ejected": availability.ejected or None,
            "ejected_for": max(0.0, health.ejection.until - now) if availability.ejected else None,
            "ejections": {outcome: health.checks.ejections[outcome] for outcome in get_args(Outcome)},
            "points": health.warmth(now),
            "same_hash": pool_state.config.tier and health.hash == pool_state.ring.hash.name,
        }


def unfiled_facts(pool: str, found: Unfiled) -> dict[str, Any]:
    """Return a decision that is not in the file."""
    return {
        "pool": pool,
        "backend": found.backend,
        "text": str(found),
        "who": found.who or None,
        "since": found.at,
    }


def settling_facts(work: Settling | None) -> dict[str, Any] | None:
    """Return the progress of moving strays home; None if that was not asked for."""
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
    """Return the active generation and the result of the last reload."""
    active, done = services.registry.active, services.reloader.last
    found = {"time": done.time, "who": done.who, "ok": done.ok, "problems": done.problems} if done else None
    return {"generation": active.generation, "since": active.since, "last_reload": found}


def _counted(counts: BackendCounts) -> dict[str, int]:
    return {
        "tunnels": counts.tunnels,
        "sessions": counts.active,
        "queued": counts.queued,
        "full": counts.full,
        "requests": counts.requests,
        "connects": counts.connects,
        "connect_errors": counts.connect_errors,
        "response_errors": counts.response_errors,
        "bytes_sent": counts.bytes_in,
        "bytes_received": counts.bytes_out,
    }


def _ramp(ramp: Ramp, wall: float) -> dict[str, Any] | None:
    """Return a gradual change of a weight; None once it is complete."""
    left = ramp.over - ramp.passed(wall)
    if left <= 0:
        return None
    return {"from": ramp.start, "to": ramp.target, "over": ramp.over, "left": left, "paused": ramp.paused}
