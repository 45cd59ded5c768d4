"""Leases: where users are right now.

A token with live tunnels holds a lease on the backend its newest tunnel went to, so that all tabs of a user stay
together whatever the ring says meanwhile; ``linger`` seconds after the last tunnel closes (a page is reloaded, a
network changes) the lease ends. Sessions are opaque here: whoever opens one closes it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile

from balancer.pool.board import Cell


class Lease:
    """Live tunnels of one token, by session, in the order of opening."""

    __slots__ = ("place", "sessions", "token", "until")

    def __init__(self, token: bytes) -> None:
        self.token = token
        self.sessions: dict[object, str] = {}
        """Backend of each open tunnel."""
        self.place = ""
        """Backend of the newest tunnel."""
        self.until = 0.0
        """With no tunnel open: when the lease ends."""

    def over(self, now: float) -> bool:
        """It has lingered long enough."""
        return not self.sessions and self.until <= now


class Leases:
    """All leases of a pool. ``users`` counts tokens with live tunnels by their place."""

    def __init__(self, linger: float) -> None:
        self.linger = linger
        self.users: Counter[str] = Counter()
        self.cells: Mapping[str, Cell] = {}
        """Where the users of a backend are told to the other workers."""
        self.nobodys: dict[object, str] = {}
        """Sessions of tunnels without a token, which hold no lease, and their backends."""
        self._leases: dict[bytes, Lease] = {}
        self._lingering: dict[bytes, Lease] = {}
        """Those without a tunnel, in the order of their ends."""

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, token: bytes, now: float) -> Lease | None:
        """The token's lease, if it holds one."""
        lease = self._leases.get(token)
        return None if lease is None or lease.over(now) else lease

    def live(self) -> Iterator[Lease]:
        """Leases with open tunnels; of a copy, so that sessions may be closed on the way."""
        return (lease for lease in list(self._leases.values()) if lease.sessions)

    def open(self, token: bytes, session: object, backend: str) -> Lease:
        """A tunnel of ``token`` has been opened on ``backend``."""
        lease = self._leases.get(token)
        if lease is None:
            lease = self._leases[token] = Lease(token)
        self._lingering.pop(token, None)
        if lease.sessions:
            self._count(lease.place, -1)
        lease.sessions[session] = lease.place = backend
        self._count(backend, 1)
        return lease

    def close(self, lease: Lease, session: object, now: float) -> None:
        """The tunnel has ended; without effect on one that was evicted before."""
        if session in lease.sessions:
            self._drop(lease, [session])
            if not lease.sessions:
                lease.until = now + self.linger
                self._lingering[lease.token] = lease

    def evict(self, lease: Lease, backends: Collection[str]) -> list[object]:
        """Take the token's tunnels on these backends out of its lease, so that they return somewhere else.

        The sessions are the caller's to end, all of them: tabs of one user stay together.
        """
        sessions = [session for session, place in lease.sessions.items() if place in backends]
        if sessions:
            self._drop(lease, sessions)
            if not lease.sessions:
                del self._leases[lease.token]
        return sessions

    def expire(self, now: float) -> None:
        """Drop the leases that have lingered long enough."""
        over = list(takewhile(lambda lease: lease.over(now), self._lingering.values()))
        for lease in over:
            del self._lingering[lease.token]
            del self._leases[lease.token]

    def _drop(self, lease: Lease, sessions: list[object]) -> None:
        """What remains decides the place: the newest tunnel still open."""
        self._count(lease.place, -1)
        for session in sessions:
            del lease.sessions[session]
        if lease.sessions:
            lease.place = lease.sessions[next(reversed(lease.sessions))]
            self._count(lease.place, 1)

    def _count(self, backend: str, more: int) -> None:
        self.users[backend] += more
        cell = self.cells.get(backend)
        if cell is not None:
            cell.put(self.users[backend])
