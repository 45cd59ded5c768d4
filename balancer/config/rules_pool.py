"""Rules about TLS to the backends of a pool."""

from collections.abc import Iterator

from balancer.config.finding import Finding, Key
from balancer.config.pool import PoolConfig


def backend_tls_findings(pool_at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Yield findings about ``pool.tls`` and ``server_name`` of backends; ``pool_at`` is the key of the pool."""
    tls, at = pool.tls, (*pool_at, "tls")
    enabled = (*at, "enabled")
    if not tls.enabled and tls.model_fields_set - {"enabled"}:
        yield Finding(at, "has no effect without enabled = true", (enabled,), warning=True)
    if (tls.cert is None) != (tls.key is None):
        given, other = ("cert", "key") if tls.key is None else ("key", "cert")
        yield Finding((*at, given), f"cert and key belong together: set {other} as well", ((*at, other),))
    if tls.enabled and not tls.verify:
        message = "anyone between the balancer and the backends can read and change the traffic"
        yield Finding((*at, "verify"), message, (enabled,), warning=True)
    for i, backend in enumerate(pool.backend):
        name = backend.server_name or tls.server_name
        if tls.enabled and tls.verify and backend.address.path and name is None:
            message = "a Unix socket has no name to verify in the certificate: set server_name of the backend"
            key = (*pool_at, "backend", i)
            yield Finding((*key, "address"), message, (enabled, (*at, "verify"), (*key, "server_name")))
        if backend.server_name is not None and not tls.enabled and pool.health.type != "tls":
            message = "has no effect without pool.tls.enabled = true"
            yield Finding((*pool_at, "backend", i, "server_name"), message, (enabled,), warning=True)
