"""What operators may do to header fields: the names that are not theirs, and the facts that values may contain."""

import re

HOP_BY_HOP = (
    # RFC 9110, 7.6.1: Upgrade is interpreted, the others are only removed.
    *("connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade"),
    "http2-settings",  # RFC 7540, 3.2.1: part of an upgrade to h2c, which is never forwarded
)
FRAMING = (*HOP_BY_HOP, "content-length", "trailer", "expect", "host")
"""Fields that the daemon writes or interprets itself, in lower case."""
OURS = ("x-balancer-", "balancer-")
"""How the names of the daemon's own fields begin; the value of one of them is a secret."""
FACTS = (
    *("client_address", "client_port", "port", "scheme", "host", "request_id", "tls_version", "sni"),
    *("client_subject", "client_cn", "forwarded_for", "header"),
)
"""What a value may contain in braces; ``header`` with a name, as in ``{header:User-Agent}``."""
FACT = re.compile(r"\{([a-z_]+)(?::([!#$%&'*+.^_`|~0-9A-Za-z-]+))?\}")


def is_reserved(name: str) -> bool:
    """Return whether operators may not touch a field of this ``name``, in whatever spelling."""
    spelled = name.lower().replace("_", "-")
    return spelled in FRAMING or spelled.startswith(OURS)
