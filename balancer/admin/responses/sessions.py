"""Open tunnels."""

from balancer.admin.responses.common import answer


@answer
class SessionFacts:
    """An open tunnel."""

    session: str
    pool: str
    listener: str
    user: str | None
    """Digest of the user's token."""
    backend: str
    client: str
    since: float
    bytes_in: int
    bytes_out: int


@answer
class Sessions:
    """Open tunnels, oldest first."""

    count: int
    sessions: list[SessionFacts]


@answer
class SessionEnded:
    """A tunnel that was ended."""

    session: str
    ended: bool
