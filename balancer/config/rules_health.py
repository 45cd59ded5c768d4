"""Rules between the keys of a pool about probes and ejection."""

from collections.abc import Iterator

from balancer.config.finding import Finding, Key
from balancer.config.pool import BackendConfig, BackendHealthConfig, HealthConfig, HealthTlsConfig, PoolConfig
from balancer.config.scalars import shown

_PROBES_OF = {
    "method": ("http",),
    "path": ("http", "websocket"),
    "host": ("http", "websocket"),
    "expect_status": ("http",),
    "expect_body": ("http",),
    "drain_on_404": ("http", "websocket"),
    "tls": ("tls",),
}
"""Keys of ``pool.health`` and the types of probes that use them."""
_SHORTEST_INTERVAL = 0.1


def ejection_findings(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Yield findings about ejection; ``at`` is the key of ``pool.health``."""
    health, passive = pool.health, pool.health.passive
    mode = (*at, "passive", "mode")
    if health.max_ejection_time < health.ejection_time:
        message = "must be at least ejection_time"
        yield Finding((*at, "max_ejection_time"), message, ((*at, "ejection_time"),))
    if passive.mode == "off":
        for key in sorted(passive.model_fields_set - {"mode"}):
            message = 'has no effect: passive health checks are off; set mode = "dry_run" or "on"'
            yield Finding((*at, "passive", key), message, (mode,), warning=True)
        return
    if not passive.outcomes:
        message = 'nothing counts as a failure: list some, or set mode = "off"'
        yield Finding((*at, "passive", "outcomes"), message, (mode,))
    if not passive.consecutive and not passive.failure_rate:
        message = 'nothing would be ejected, as failure_rate is 0 too: set one of them, or mode = "off"'
        yield Finding((*at, "passive", "consecutive"), message, (mode, (*at, "passive", "failure_rate")))
    if passive.mode == "on" and len(pool.backend) == 1:
        message = "the only backend of a pool is never ejected"
        yield Finding(mode, message, warning=True)


def health_findings(pool_at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Yield findings about the probes of a pool; ``pool_at`` is the key of the pool."""
    health, at = pool.health, (*pool_at, "health")
    kind = (*at, "type")
    for key in sorted(health.model_fields_set & _PROBES_OF.keys()):
        empty_table = isinstance(value := getattr(health, key), HealthTlsConfig) and not value.model_fields_set
        if health.type not in ("off", *_PROBES_OF[key]) and not empty_table:
            message = f"has no effect: it needs type = {' or '.join(map(shown, _PROBES_OF[key]))}"
            yield Finding((*at, key), message, (kind,), warning=True)
    yield from _intervals(at, health)
    if health.type != "off" and health.timeout > health.interval:
        message = "should be at most interval: a probe that takes longer delays the next one"
        yield Finding((*at, "timeout"), message, ((*at, "interval"), kind), warning=True)
    if health.type == "off" and health.agent.port is not None:
        message = 'has no effect with type = "off"; the simplest type of probe is "tcp"'
        yield Finding((*at, "agent"), message, (kind,), warning=True)
    if health.expect_body and health.method == "HEAD":
        message = "a response to HEAD has no body: use GET, or remove expect_body"
        yield Finding((*at, "expect_body"), message, ((*at, "method"),))
    for i, backend in enumerate(pool.backend):
        yield from _probed((*pool_at, "backend", i), backend, at, pool)


def _intervals(at: Key, health: HealthConfig | BackendHealthConfig) -> Iterator[Finding]:
    for key in ("interval", "fast_interval", "down_interval"):
        if (interval := getattr(health, key)) is not None and interval < _SHORTEST_INTERVAL:
            yield Finding((*at, key), "must be at least 100ms")
    if health.fast_interval is not None and health.interval is not None and health.fast_interval > health.interval:
        message = "must be at most interval: it speeds up probes while the state is in doubt"
        yield Finding((*at, "fast_interval"), message, ((*at, "interval"),))


def _probed(at: Key, backend: BackendConfig, health_at: Key, pool: PoolConfig) -> Iterator[Finding]:
    health = pool.health
    target = backend.check_address or backend.address
    yield from _intervals((*at, "health"), backend.health)
    probed = health.type != "off" and backend.check
    if not probed and (unused := sorted(backend.model_fields_set & {"check_address", "health"})):
        why = "pool.health.type" if health.type == "off" else "check"
        if why == "check" or unused == ["health"]:
            message = f"has no effect: {why} turns its probes off"
            yield Finding((*at, unused[0]), message, ((*health_at, "type"), (*at, "check")), warning=True)
    if backend.check_address and not backend.check_address.path and backend.check_address.port == 0:
        yield Finding((*at, "check_address"), "a backend needs a port above 0")
    if (
        health.type == "tls"
        and health.tls.verify
        and target.path
        and (backend.server_name or health.tls.server_name or pool.tls.server_name) is None
    ):
        message = "a Unix socket has no name to verify in the certificate: set pool.health.tls.server_name"
        reads = ((*health_at, "type"), (*health_at, "tls"), (*at, "check_address"))
        yield Finding((*at, "address"), message, reads)
    if health.agent.port is not None and backend.address.path:
        message = "a Unix socket has no port for an agent: remove pool.health.agent"
        yield Finding((*at, "address"), message, ((*health_at, "agent", "port"),))
