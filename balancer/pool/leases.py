"""Leases: where users are right now.

A token with live tunnels holds a lease on the backend its newest tunnel went to, so that all tabs of a user stay
together whatever the ring says meanwhile; ``linger`` seconds after the last tunnel closes (a page is reloaded, a
network changes) the lease ends. Sessions are opaque here: whoever opens one closes it.
"""

from collections import Counter
from collections.abc import Iterator


class Lease:
    """Live tunnels of one token, by session; the order is the order of opening."""

    __slots__ = ("place", "sessions", "until")

    def __init__(self) -> None:
        self.sessions: dict[object, str] = {}
        """Backend of each open tunnel."""
        self.place = ""
        """Backend of the newest tunnel."""
        self.until = 0.0
        """With no tunnel open: when the lease ends."""


class Leases:
    """All leases of a pool. ``users`` counts tokens with live tunnels by their place."""

    def __init__(self, linger: float) -> None:
        self.linger = linger
        self.users: Counter[str] = Counter()
        self._leases: dict[bytes, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, token: bytes) -> Lease | None:
        """The token's lease, if it holds one."""
        return self._leases.get(token)

    def live(self) -> Iterator[tuple[bytes, Lease]]:
        """Tokens with open tunnels; a copy, so that sessions may be closed on the way."""
        return ((token, lease) for token, lease in list(self._leases.items()) if lease.sessions)

    def open(self, token: bytes, session: object, backend: str) -> None:
        """A tunnel of ``token`` has been opened on ``backend``."""
        lease = self._leases.get(token)
        if lease is None:
            lease = self._leases[token] = Lease()
        if lease.sessions:
            self.users[lease.place] -= 1
        lease.sessions[session] = lease.place = backend
        self.users[backend] += 1

    def close(self, token: bytes, session: object, now: float) -> None:
        """The tunnel has ended. What remains decides the place: the newest tunnel still open."""
        lease = self._leases[token]
        self.users[lease.place] -= 1
        del lease.sessions[session]
        if lease.sessions:
            lease.place = lease.sessions[next(reversed(lease.sessions))]
            self.users[lease.place] += 1
        else:
            lease.until = now + self.linger

    def forget(self, token: bytes) -> None:
        """Let the token be placed anew at its next connection, without lingering."""
        lease = self._leases.get(token)
        if lease is not None and not lease.sessions:
            del self._leases[token]

    def expire(self, now: float) -> None:
        """Drop the leases that have lingered long enough."""
        over = [token for token, lease in self._leases.items() if not lease.sessions and lease.until <= now]
        for token in over:
            del self._leases[token]
