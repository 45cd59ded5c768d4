"""Gauges and counters of the whole daemon, summed over its workers."""

import time
from typing import Any, get_args

from msgspec.structs import asdict

from balancer.control.lifecycle import Lifecycle
from balancer.control.worker_registry import WorkerRegistry
from balancer.net.admission import REASONS
from balancer.net.engine import LAG_BOUNDS
from balancer.shared.histogram import Histogram
from balancer.shared.log_loss import Loss


def daemon_gauges(lifecycle: Lifecycle, registry: WorkerRegistry) -> dict[str, Any]:
    """Return them by name."""
    active, counters, gauges = registry.active, registry.counters, registry.gauges
    lag = Histogram(LAG_BOUNDS)
    if counters:
        lag.counts, lag.sum = counters["loop_lag"], counters["loop_lag_sum"]
    return {
        "started": lifecycle.started,
        "draining": lifecycle.draining,
        "lame": lifecycle.lame,
        "drains_at": _unix(lifecycle.lame_until),
        "closes_at": _unix(lifecycle.drain_until),
        "accepting": registry.ready.is_set() and bool(registry.workers),
        "connections": gauges.get("connections", 0),
        "max_connections": active.config.limits.max_connections,
        "starved": bool(gauges.get("starved", 0)),
        "refused_connections": counters.get("refused_connections") or dict.fromkeys(REASONS, 0),
        "crashes": counters.get("crashes", 0),
        "loop_lag": lag.plain(),
        "log_lines_dropped": counters.get("log_lines_dropped", 0),
        "log_lines_lost": {reason: counters.get("log_lines_lost", {}).get(reason, 0) for reason in get_args(Loss)},
        "processes": [asdict(each) for each in lifecycle.processes],
        "workers": registry.facts(),
        "listeners": {
            listener.name: {
                **{"connections": 0, "handshake_failures": 0, "silent": 0, "open": 0},
                **counters.get("listeners", {}).get(listener.name, {}),
                **gauges.get("listeners", {}).get(listener.name, {}),
                "max_connections": listener.max_connections,
                "pool": listener.pool or "",
                "bind": [address for key in active.keys[listener.name] for address in active.bound[key]],
            }
            for listener in active.config.listener
        },
    }


def _unix(at: float | None) -> float | None:
    """Return the Unix time of a time on the monotonic clock."""
    return None if at is None else time.time() + at - time.monotonic()
