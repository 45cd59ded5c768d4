"""What a worker reports to control: counters, gauges, and the outcomes of traffic for each backend."""

from collections.abc import Iterable, Mapping

from balancer.health.tally import Tally
from balancer.pool.counts import Counts, pool_counters, pool_gauges
from balancer.pool.pool import Pool
from balancer.proxy.listener_state import ListenerState
from balancer.proxy.worker_state import WorkerState


def counters(worker: WorkerState, listeners: Mapping[str, ListenerState]) -> Counts:
    """Return what only grows."""
    return {
        "refused_connections": dict(worker.admission.refused),
        "crashes": worker.engine.crashes,
        "log_lines_dropped": worker.log.dropped.total(),
        "log_lines_lost": dict(worker.log.dropped),
        "loop_lag": list(worker.engine.lag.counts),
        "loop_lag_sum": worker.engine.lag.sum,
        "listeners": {
            name: {each: getattr(listener, each) for each in ListenerState.COUNTERS}
            for name, listener in listeners.items()
        },
        "pools": {name: pool_counters(pool) for name, pool in _pools(worker)},
    }


def gauges(worker: WorkerState, listeners: Mapping[str, ListenerState]) -> Counts:
    """Return the numbers of this moment."""
    return {
        "connections": worker.admission.connections.held,
        "starved": int(worker.admission.starved),
        "listeners": {name: {"open": listener.connection_limit.held} for name, listener in listeners.items()},
        "sessions": len(worker.connections),
        "tunnels": len(worker.tunnel_registry.tunnels),
        "pools": {name: pool_gauges(pool, worker.engine.now) for name, pool in _pools(worker)},
    }


def tallies(worker: WorkerState) -> dict[str, dict[str, Tally]]:
    """Return the outcomes of traffic since the last call, for backends of pools with passive health checks."""
    return {
        name: {each.name: each.take() for each in pool.backends.values()}
        for name, pool in worker.pools.items()
        if pool.settings.health.passive.mode != "off"
    }


def _pools(worker: WorkerState) -> Iterable[tuple[str, Pool]]:
    return {**worker.removed_pools, **worker.pools}.items()
