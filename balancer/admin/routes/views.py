"""Handlers that only read: the daemon, pools and backends, pins, strays and the journal."""

import time
from dataclasses import asdict, replace

import trio

from balancer.admin.call import ApiError, Call, as_text
from balancer.admin.routes.upgrade import upgrade_facts
from balancer.admin.server import ApiResponse
from balancer.admin.views import reload_facts, settling_facts
from balancer.config.scalars import no_such
from balancer.control.compute import compute
from balancer.control.events import KEPT, EventReader
from balancer.control.pool_state import PoolState
from balancer.ring.report import show_json, show_text
from balancer.shared.compiled import build
from balancer.shared.log_level import level
from balancer.shared.version import VERSION

HEALTH = "Balancer-Health"
"""The header in which a host tells what it asks for; see ``balancer.probes.http``."""
HASH = "Balancer-Hash"
"""The header in which a balancer tells the one in front what it places tokens by."""
_LISTED = 1000
"""Default of ``limit`` for strays and journal entries."""
_MOST = 100_000


async def health(call: Call) -> ApiResponse:
    """Answer while the process lives."""
    return call.answer({"ok": True})


async def ready(call: Call) -> ApiResponse:
    """Return whether the daemon accepts connections, and the ``pool`` (without one, any pool) has a backend for them.

    A daemon that asks for a drain, or for fewer users of the ``pool``, is ready and says so in the header that health
    checks look at. The name of the pool's hash is for a balancer in front, which has to place by another one.
    """
    services, name = call.services, call.request.query.get("pool")
    if name is not None and name not in services.pools.states:
        raise ApiError(404, no_such("pool", name, services.pools.states))
    gauges, now = services.gauges(), trio.current_time()
    pools = services.pools.states.values() if name is None else [services.pools.states[name]]
    served = any(pool.takes_new(backend, now) for pool in pools for backend in pool.backends)
    if gauges["draining"]:
        why = "the daemon is stopping"
    elif not gauges["accepting"]:
        why = "the daemon is starting: backends are being probed"
    elif gauges["starved"]:
        why = "new connections are refused: too little memory (limits.memory)"
    else:
        why = "" if served else "no backend is available" + (f" in pool {name}" if name is not None else "")
    asks_for = "drain" if gauges["lame"] else _share(services.pools.states[name]) if name is not None else None
    answer = call.answer({"ready": not why, "why": why or None, "asks_for": asks_for}, status=503 if why else 200)
    tells = [(HEALTH, asks_for)] if asks_for else []
    if name is not None:
        tells.append((HASH, services.pools.states[name].ring.hash.name))
    return replace(answer, headers=(*answer.headers, *tells))


def _share(pool_state: PoolState) -> str | None:
    """Return what the pool asks of the balancer in front if too little of its weight is healthy."""
    healthy = pool_state.healthy
    return f"degraded; weight={max(1, int(healthy * 100))}%" if healthy < pool_state.config.degraded_below else None


async def metrics(call: Call) -> ApiResponse:
    """Return the metrics for Prometheus."""
    body, content_type = await call.metrics.exposition(as_openmetrics=call.wants("application/openmetrics-text"))
    call.services.counters.save()  # counted first, so that the number never falls afterwards
    return ApiResponse(200, body, content_type)


async def status(call: Call) -> ApiResponse:
    """Show the state of the whole daemon."""
    services = call.services
    return call.answer(
        {
            "version": VERSION,
            "build": build(),
            "uptime": time.monotonic() - services.lifecycle.began,
            **services.gauges(),
            **reload_facts(services),
            "state_kept": services.persistent,
            "previous": services.upgrader.previous_versions(),
            "upgrade": upgrade_facts(services.upgrader.news),
            "removed_pools": services.registry.removed_pools(),
            "pools": [
                {
                    **call.views.pool(pool_state),
                    "backend": call.views.backends(pool_state),
                    "not_in_file": call.views.not_in_file(pool_state),
                }
                for pool_state in services.pools.states.values()
            ],
        }
    )


async def pools(call: Call) -> ApiResponse:
    """List all pools."""
    pool_states = call.services.pools.states.values()
    return call.answer({"pools": [call.views.pool(pool_state) for pool_state in pool_states]})


async def pool(call: Call) -> ApiResponse:
    """Show a pool with its backends."""
    return call.answer(call.views.pool(call.pool_state))


async def backends(call: Call) -> ApiResponse:
    """List the backends of a pool."""
    state = call.pool_state
    found = {"backends": call.views.backends(state), "not_in_file": call.views.not_in_file(state)}
    return call.answer({"pool": call.pool, **found})


async def ring(call: Call) -> ApiResponse:
    """Show the active ring: shares, points, balance."""
    pool_state = call.pool_state
    algorithm = pool_state.config.ring.algorithm
    if call.wants("text/plain"):
        return as_text(await compute(show_text, call.pool, algorithm, pool_state.ring))
    return call.answer(await compute(show_json, call.pool, algorithm, pool_state.ring))


async def pins(call: Call) -> ApiResponse:
    """List the pins of a pool, by digest."""
    found = [pin.model_dump(mode="json", exclude={"op"}) for pin in call.pool_state.overlay.pins.values()]
    return call.answer({"pool": call.pool, "pins": found})


async def strays(call: Call) -> ApiResponse:
    """List strays, and the progress of moving them home."""
    evictions = call.services.evictions
    found = await evictions.strays(call.pool)
    settling = settling_facts(evictions.settling(call.pool))
    listed = [asdict(stray) for stray in found[: call.number("limit", _LISTED, _MOST)]]
    return call.answer({"pool": call.pool, "count": len(found), "settling": settling, "strays": listed})


async def journal(call: Call) -> ApiResponse:
    """Show the newest entries of a pool's journal, oldest first."""
    limit = call.number("limit", _LISTED, _MOST, least=1)
    entries, count = await trio.to_thread.run_sync(call.services.pools.journal.newest, call.pool, limit)
    secret = {"config": {"ring": {"seed"}}}
    listed = [entry.model_dump(mode="json", exclude_none=True, exclude=secret) for entry in entries]
    kept = call.services.persistent
    return call.answer({"pool": call.pool, "kept": kept, "count": count, "entries": listed})


async def events(call: Call) -> ApiResponse:
    """Stream events (server-sent events) after ``Last-Event-ID``, or starting with the ``last`` ones."""
    found = call.services.events
    seen = call.request.headers.get("last-event-id")
    place = found.newest(call.number("last", 0, KEPT)) if seen is None else found.place_of(seen)
    follower = EventReader(found, place)
    return ApiResponse(200, b"", "text/event-stream", (("X-Accel-Buffering", "no"),), more=follower.piece)


async def log_level(call: Call) -> ApiResponse:
    """Show the log level."""
    return call.answer({"level": level()})
