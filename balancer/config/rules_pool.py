"""Rules between the keys of a pool about tokens, and about TLS to its backends."""

from collections.abc import Iterator

from balancer.config.finding import Finding, Key
from balancer.config.model import PoolConfig
from balancer.config.scalars import shown

_SOURCES_OF = {
    "param": ("query",),
    "header": ("header",),
    "cookie": ("cookie",),
    "depth": ("path", "uri"),
    "leading_bytes": ("path", "uri"),
    "missing": ("query", "header", "cookie"),
    "duplicates": ("query", "header", "cookie"),
    "decode": ("query", "header", "cookie"),
    "max_length": ("query", "header", "cookie"),
}
"""Keys of ``pool.token`` and the sources that use them."""
_NO_TOKENS = {
    *("connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade", "http2-settings"),
    *("content-length", "expect"),
}
"""Header fields that are not forwarded, or describe how a body is framed."""


def token_findings(at: Key, pool: PoolConfig) -> Iterator[Finding]:
    """Yield findings about tokens; ``at`` is the key of ``pool.token``."""
    token, source = pool.token, (*at, "source")
    for key in sorted(token.model_fields_set & _SOURCES_OF.keys()):
        if token.source not in _SOURCES_OF[key]:
            message = f"has no effect: it needs source = {' or '.join(map(shown, _SOURCES_OF[key]))}"
            yield Finding((*at, key), message, (source,), warning=True)
    for key in ("header", "cookie"):
        if token.source == key and getattr(token, key) is None:
            message = f'missing: source = "{key}" needs the name of the {key}'
            yield Finding((*at, key), message, (source,))
    if token.header is not None and token.header.lower() in _NO_TOKENS:
        message = "describes the connection, not the user: use another header"
        yield Finding((*at, "header"), message, (source,))


def tls_findings(pool_at: Key, pool: PoolConfig) -> Iterator[Finding]:
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
