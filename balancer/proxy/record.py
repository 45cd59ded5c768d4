"""What is logged about one request or tunnel."""

from balancer.http.head import Request


class Record:
    """What is logged about one request or tunnel; times are ``Engine.now`` values, 0 when a phase did not happen."""

    __slots__ = (
        "backend",
        "by",
        "bytes_in",
        "bytes_out",
        "connected",
        "digest",
        "ended",
        "first_byte",
        "head",
        "method",
        "queued",
        "reason",
        "request",
        "request_id",
        "skipped",
        "started",
        "status",
        "target",
        "tls_seconds",
        "token_from",
        "tries",
    )

    def __init__(self, started: float, tls_seconds: float = 0.0) -> None:
        self.started = started
        self.tls_seconds = tls_seconds
        self.head = 0.0
        self.connected = 0.0
        self.first_byte = 0.0
        self.queued = 0.0
        """Seconds spent waiting for a place at a backend that was full."""
        self.method = b""
        self.target = b""
        self.request: Request | None = None
        """None for one that could not be read, and for a connection of a TCP listener."""
        self.request_id = b""
        self.digest = ""
        self.token_from = ""
        """The place in the request where the token was."""
        self.backend = ""
        self.reason = ""
        self.skipped: tuple[tuple[str, str], ...] = ()
        self.tries = 0
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.ended = "ok"
        """``ok``, or what ended it early in plain words."""
        self.by = ""
        """``client``, ``backend`` or ``internal`` when it ended early."""
