"""Leases: where users are right now.

A token with live tunnels holds a lease on the backend its newest tunnel went to, so that all tabs of a user stay
together, wherever the ring would place them meanwhile. The lease ends ``linger`` seconds after the last tunnel has
closed, as a page may be reloaded or a network change. Sessions are opaque here.

Several workers hold the tunnels of one user. Each keeps leases of its own tunnels, and of users who are ``elsewhere``:
at a backend that control names because the ring does not (``follow``). Control knows the tunnels of all workers.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile

from balancer.shared.counters import Cell

Place = tuple[str, bool]
"""A backend, and whether the user has tunnels there (or only lingers)."""


class Lease:
    """Live tunnels of one token, by session, in the order of opening."""

    __slots__ = ("connected", "counted", "elsewhere", "place", "sessions", "token", "until")

    def __init__(self, token: bytes) -> None:
        self.token = token
        self.sessions: dict[object, str] = {}
        """Backend of each open tunnel."""
        self.elsewhere = ""
        """The backend where the user is according to control, if it is not the one of the ring."""
        self.connected = False
        """There are tunnels ``elsewhere``; otherwise the user only lingers there."""
        self.place = ""
        """Backend of the newest tunnel."""
        self.counted = ""
        """The backend in whose ``users`` it is."""
        self.until = 0.0
        """With no tunnel open: when the lease ends."""

    def over(self, now: float) -> bool:
        """Return whether it has lingered long enough."""
        return not self.sessions and not self.elsewhere and self.until <= now

    def holds(self, backend: str) -> bool:
        """Return whether the user has tunnels on this backend."""
        return (self.connected and backend == self.elsewhere) or backend in self.sessions.values()

    def places(self) -> Iterator[str]:
        """Yield the backends where the user is, the newest first; some more than once."""
        yield self.place
        yield from reversed(self.sessions.values())


class Leases:
    """All leases of a pool. ``users`` counts tokens with live tunnels of our own by their place."""

    def __init__(self, linger: float) -> None:
        self.linger = linger
        self.users: Counter[str] = Counter()
        self.cells: Mapping[str, Cell] = {}
        """Shared counters of the users of each backend, for the other workers."""
        self.without_token: dict[object, str] = {}
        """Backends of tunnels without a token, which hold no lease, by session."""
        self.moved: set[bytes] | None = None
        """Tokens whose place may have changed; None if these are not to be collected."""
        self._leases: dict[bytes, Lease] = {}
        self._lingering: dict[bytes, Lease] = {}
        """Those without a tunnel, in the order of their ends."""

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, token: bytes, now: float) -> Lease | None:
        """Return the lease of the token, if it holds one."""
        lease = self._leases.get(token)
        return None if lease is None or lease.over(now) else lease

    def all(self) -> list[Lease]:
        """Return all leases, including those that linger, in a copy: they may be changed meanwhile."""
        return list(self._leases.values())

    def live(self) -> Iterator[Lease]:
        """Yield the leases with open tunnels, of a copy: sessions may be closed meanwhile."""
        return (lease for lease in self.all() if lease.sessions)

    def open(self, token: bytes | None, session: object, backend: str) -> Lease | None:
        """Add a tunnel of ``token`` on ``backend``; return its lease, or None without a token."""
        if token is None:
            self.without_token[session] = backend
            return None
        lease = self._hold(token)
        lease.sessions[session] = backend
        if lease.elsewhere:
            lease.elsewhere, lease.connected = backend, True  # this one is newer
        self._moved(lease)
        return lease

    def close(self, lease: Lease | None, session: object, now: float) -> None:
        """Remove a tunnel that has ended; without effect on one that was evicted before."""
        if lease is None:
            self.without_token.pop(session, None)
        elif session in lease.sessions:
            del lease.sessions[session]
            if not lease.sessions:
                lease.until = now + self.linger
                if not lease.elsewhere:  # control says when that is over
                    self._lingering[lease.token] = lease
            self._moved(lease)

    def follow(self, token: bytes, place: Place | None) -> None:
        """Note where the user is according to control; None is on the backend of the ring, or nowhere."""
        if place is not None:
            lease = self._hold(token)
            lease.elsewhere, lease.connected = place
            self._moved(lease)
        elif (known := self._leases.get(token)) is not None and known.elsewhere:
            known.elsewhere = ""
            if not known.sessions:
                self._end(known)
            self._moved(known)

    def leave(self, lease: Lease, backends: Collection[str]) -> list[object]:
        """Evict the token's tunnels on these backends, and return them all for the caller to end."""
        return self.evict(lease, [session for session, place in lease.sessions.items() if place in backends])

    def evict(self, lease: Lease, sessions: Collection[object]) -> list[object]:
        """Take sessions out of the lease; return those it had. Nothing lingers, as the user is to return elsewhere."""
        mine = [session for session in sessions if session in lease.sessions]
        for session in mine:
            del lease.sessions[session]
        if mine:
            if not lease.sessions:
                self._end(lease)
            self._moved(lease)
        return mine

    def expire(self, now: float) -> None:
        """Drop the leases that have lingered long enough."""
        over = list(takewhile(lambda lease: lease.over(now), self._lingering.values()))
        for lease in over:
            self._end(lease)
            self._moved(lease)

    def _hold(self, token: bytes) -> Lease:
        lease = self._leases.get(token)
        if lease is None:
            lease = self._leases[token] = Lease(token)
        self._lingering.pop(token, None)
        return lease

    def _end(self, lease: Lease) -> None:
        lease.elsewhere = ""
        self._lingering.pop(lease.token, None)
        self._leases.pop(lease.token, None)

    def _moved(self, lease: Lease) -> None:
        """Update the place, which is that of the newest tunnel, while there is one."""
        mine = lease.sessions[next(reversed(lease.sessions))] if lease.sessions else ""
        if mine != lease.counted:
            if lease.counted:
                self._count(lease.counted, -1)
            if mine:
                self._count(mine, 1)
            lease.counted = mine
        lease.place = lease.elsewhere or mine or lease.place
        if self.moved is not None:
            self.moved.add(lease.token)

    def _count(self, backend: str, more: int) -> None:
        self.users[backend] += more
        cell = self.cells.get(backend)
        if cell is not None:
            cell.put(self.users[backend])
