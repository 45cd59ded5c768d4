"""Compare a ring with another balancer's log: where does each place users, and why do they differ?

A balancer with the same hash still sends some requests elsewhere: a server was down, or refused, and the next one
took its users. haproxy logs when servers go down and up, in its complete log; nginx does not. But a server that is
down serves no request at all, which shows: for each server we record the seconds in which it served. A difference is
attributed to an outage if every server that the ring prefers was silent around it, and if in that silence an attempt
failed, or many requests of its users went elsewhere. With a wrong ring, servers are busy with each other's users, and
none is silent. A server that the log never mentions proves nothing: it may not have existed. Requests are
logged when they end, tunnels hours after they were placed, so nothing here depends on the order of lines.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile

from balancer.config.plain import token_settings
from balancer.config.pool import PoolConfig
from balancer.errors import ProxyError, Refused
from balancer.http.head import Request as Head
from balancer.http.token import Place, extract
from balancer.migrate.logs.entry import Change, LoggedRequest
from balancer.ring.base import Ring
from balancer.ring.build import build

KEPT = 50_000
"""Differences that are analysed. Further ones count as unexplained."""
EXAMPLES = 3
ENOUGH = 10
"""So many differences in one silence of a server prove without any other evidence that it was down."""
GRACE = 2
"""Seconds around a state change of a server within which requests may have been placed before or after it."""
_DAY = 86_400
_MOST_DAYS = 4096
"""Limit on the product of days and servers: 86,400 bytes each."""
_OWNERS_KEPT = 1 << 16
_USERS_KEPT = 10_000


class Cause(StrEnum):
    """Why a request did not go where the ring places its user. The first four explain nothing, the others do."""

    DIFFERS = "differs"
    ABSENT = "belongs on a host that the log never mentions"
    STRANGER = "served by a host that is not in this pool"
    REFUSED = "would be rejected here"
    DOWN = "host was down, according to the log or the operator"
    SILENT = "host served no request at that time"
    REDISPATCHED = "redispatched"
    PASSED_ON = "tried there first, then sent to the next server"
    COOKIE = "placed by a cookie"
    BOUND = "ambiguous: load is bounded, and no log contains the load"

    @property
    def explains(self) -> bool:
        return self not in (Cause.DIFFERS, Cause.ABSENT, Cause.STRANGER, Cause.REFUSED)


@dataclass
class Group:
    """Requests with the same difference."""

    cause: Cause
    owner: str
    """Where the ring places these users."""
    served: str
    """Where they went."""
    requests: int = 0
    users: set[str] = field(default_factory=set)
    """Digests of their tokens, up to 10,000."""
    first: int | None = None
    last: int | None = None
    examples: list[tuple[str, str]] = field(default_factory=list)
    """Line and digest of a few requests."""

    def add(self, when: int | None, line: str, digest: str) -> None:
        """Count a request."""
        self.requests += 1
        if len(self.users) < _USERS_KEPT:
            self.users.add(digest)
        if len(self.examples) < EXAMPLES:
            self.examples.append((line, digest))
        if when is not None:
            self.first = when if self.first is None else min(self.first, when)
            self.last = when if self.last is None else max(self.last, when)


@dataclass(frozen=True)
class VerifyResult:
    """The result of a comparison."""

    pool: str
    fingerprint: str
    backends: int
    agreed: int
    """Requests that went where the ring places their users."""
    groups: list[Group]
    """The other requests: unexplained groups first, then the largest."""
    left_out: Mapping[str, int]
    """Requests that could not be compared, by reason."""

    @property
    def compared(self) -> int:
        return self.agreed + sum(group.requests for group in self.groups)

    @property
    def proved(self) -> bool:
        """Return whether requests were compared and each of them agrees or is explained."""
        return self.compared > 0 and all(group.cause.explains for group in self.groups)


@dataclass(frozen=True, slots=True)
class _Difference:
    when: int | None
    served: str
    preferred: tuple[str, ...]
    """The owner and the candidates after it, up to the one that served."""
    line: str
    digest: str


class Verifier:
    """Compares requests with the ring of ``pool``.

    ``digest`` returns what represents a token in examples. ``by_address``: the pool hashes the addresses of
    clients, as in ``tcp`` mode.
    """

    def __init__(self, pool: PoolConfig, digest: Callable[[bytes], str], *, by_address: bool = False) -> None:
        self._pool = pool
        self._place = Place(token_settings(pool))
        self._digest = digest
        self._by_address = by_address or pool.token.source == "client_ip"
        self._ring: Ring = build(pool)
        self._owner = lru_cache(maxsize=_OWNERS_KEPT)(self._ring.owner)
        self.labels = _labels(pool)
        """Backends by the names that logs may use. Callers may add more."""
        self._seen = _Seen()
        self._agreed = 0
        self._groups: dict[tuple[Cause, str, str], Group] = {}
        self._differences: list[_Difference] = []
        self._left_out: Counter[str] = Counter()

    def knows(self, server: str) -> bool:
        """Return whether this name or address belongs to a backend of the pool."""
        return server in self.labels

    def change(self, change: Change) -> None:
        """Record that a server went down or came up; it was down all the time if ``when`` is 0."""
        if self.knows(change.server):
            name = self.labels[change.server]
            self._seen.mention(name)
            self._seen.change(name, change.when, change.up)

    def request(self, request: LoggedRequest, line: str) -> None:
        """Compare a request that is logged at ``line``. Raise ``Refused`` if the log spans too many days."""
        if not request.servers:
            self._left_out["no host was tried"] += 1
            return
        tried = [self.labels.get(server, "") for server in request.servers]
        served = tried[-1]
        for name in tried:
            self._seen.mention(name)
        if request.when is not None:
            for name in tried[:-1]:
                self._seen.failed(name, request.when)
            (self._seen.served if request.served else self._seen.failed)(served, request.when)
        try:
            key = self._key(request)
        except ProxyError as error:
            self._group(Cause.REFUSED, f"nobody: {error.reason}", served or "?", request.when, line, "none")
            return
        if not key:
            return
        owner = self._owner(key)
        if owner == served and len(tried) == 1:
            self._agreed += 1
            return
        digest = self._digest(key)
        if not served:
            self._group(Cause.STRANGER, owner, _shown(request.servers[-1]), request.when, line, digest)
        elif owner == tried[0]:
            self._group(Cause.PASSED_ON, owner, served, request.when, line, digest)
        elif request.redispatched:
            if request.when is not None:
                self._seen.failed(owner, request.when)
            self._group(Cause.REDISPATCHED, owner, served, request.when, line, digest)
        elif request.by_cookie:
            self._group(Cause.COOKIE, owner, served, request.when, line, digest)
        elif len(self._differences) < KEPT:
            before = tuple(takewhile(lambda name: name != tried[0], self._ring.order(key)))
            self._differences.append(_Difference(request.when, served, before, line, digest))
        else:
            self._group(Cause.DIFFERS, owner, served, request.when, line, digest)

    def verdict(self) -> VerifyResult:
        """Return the result. Call it once, after the last line."""
        self._seen.sort()
        for each in self._differences:
            if each.when is not None:
                for name in each.preferred:
                    self._seen.missed(name, each.when)
        for each in self._differences:
            owner = each.preferred[0]
            self._group(self._cause(each), owner, each.served, each.when, each.line, each.digest)
        groups = sorted(
            self._groups.values(), key=lambda group: (group.cause.explains, -group.requests, group.owner, group.served)
        )
        return VerifyResult(
            self._pool.name,
            self._ring.fingerprint,
            len(self._ring.members),
            self._agreed,
            groups,
            dict(self._left_out),
        )

    def _key(self, request: LoggedRequest) -> bytes | None:
        """Return the bytes that are hashed, or count the request as left out."""
        if self._by_address:
            key = request.client.encode() or None
            reason = "the line has no client address"
        elif request.target is None:
            key, reason = None, "the line has no complete request"
        else:
            head = Head(b"GET", request.target, 1)
            head.fields = request.fields
            key, reason = extract(head, self._place), "no token"
        if key is None:
            self._left_out[reason] += 1
        return key

    def _cause(self, difference: _Difference) -> Cause:
        when = difference.when
        if not all(map(self._seen.mentions, difference.preferred)):
            return Cause.ABSENT
        if when is not None:
            if all(self._seen.was_down(name, when) for name in difference.preferred):
                return Cause.DOWN
            if all(
                self._seen.was_down(name, when) or self._seen.was_silent(name, when) for name in difference.preferred
            ):
                return Cause.SILENT
        if self._pool.ring.bound or self._pool.ring.hash_balance_factor:
            return Cause.BOUND
        return Cause.DIFFERS

    def _group(self, cause: Cause, owner: str, served: str, when: int | None, line: str, digest: str) -> None:
        key = (cause, owner, served)
        if key not in self._groups:
            self._groups[key] = Group(*key)
        self._groups[key].add(when, line, digest)


class _Seen:
    """In which seconds each server served, and when it went down and up; 86,400 bytes a server and day."""

    _NOTHING, _SERVED, _FAILED = b"\0", b"\1", b"\2"

    def __init__(self) -> None:
        self._days: dict[tuple[str, int], bytearray] = {}
        self._first = self._last = 0
        self._changes: dict[str, list[tuple[int, bool]]] = {}
        self._missed: Counter[tuple[str, int]] = Counter()
        self._mentioned: set[str] = set()

    def mention(self, name: str) -> None:
        """Record that a server exists."""
        self._mentioned.add(name)

    def mentions(self, name: str) -> bool:
        return name in self._mentioned

    def served(self, name: str, when: int) -> None:
        day, second = divmod(when, _DAY)
        self._day(name, day)[second] = self._SERVED[0]

    def failed(self, name: str, when: int) -> None:
        day, second = divmod(when, _DAY)
        seconds = self._day(name, day)
        seconds[second] = seconds[second] or self._FAILED[0]

    def change(self, name: str, when: int, up: bool) -> None:
        self._changes.setdefault(name, []).append((when, up))

    def sort(self) -> None:
        """Sort the changes once all are known: files may be read in any order."""
        for changes in self._changes.values():
            changes.sort()

    def missed(self, name: str, when: int) -> None:
        """Count a request that ``name`` should have served, if it falls into a silence of that server."""
        if not self._served_at(name, when):
            self._missed[name, self._last_served(name, when) + 1] += 1

    def was_down(self, name: str, when: int) -> bool:
        """Return whether a change was logged and no request since: servers may come back without a line."""
        starts = [start for start, _ in self._silences(name, when)]
        if not starts or name not in self._changes:
            return False
        since = (_down_since(self._changes[name], moment) for moment in range(when - GRACE, when + GRACE + 1))
        return any(each is not None and min(starts) <= each + GRACE + 1 for each in since)

    def was_silent(self, name: str, when: int) -> bool:
        """Return whether it served no request around that time although it was tried."""
        return any(
            self._missed[name, start] >= ENOUGH or self._has_failed(name, start, end)
            for start, end in self._silences(name, when)
        )

    def _silences(self, name: str, when: int) -> list[tuple[int, int]]:
        """Seconds without a served request around this one, or next to it if it served in this second: [start, end)."""
        found = []
        for moment in (when, when - 1, when + 1):
            if not self._served_at(name, moment):
                found.append((self._last_served(name, moment) + 1, self._next_served(name, moment)))
                if moment == when:
                    break
        return found

    def _day(self, name: str, day: int) -> bytearray:
        seconds = self._days.get((name, day))
        if seconds is None:
            if len(self._days) >= _MOST_DAYS:
                raise Refused(f"the logs span more than {_MOST_DAYS} days of hosts: verify fewer files at a time")
            seconds = self._days[name, day] = bytearray(_DAY)
            self._first = min(self._first or day, day)
            self._last = max(self._last, day)
        return seconds

    def _served_at(self, name: str, moment: int) -> bool:
        day, second = divmod(moment, _DAY)
        seconds = self._days.get((name, day))
        return seconds is not None and seconds[second] == self._SERVED[0]

    def _last_served(self, name: str, moment: int) -> int:
        day, second = divmod(moment, _DAY)
        while day >= self._first:
            seconds = self._days.get((name, day))
            if seconds is not None and (at := seconds.rfind(self._SERVED, 0, second)) >= 0:
                return day * _DAY + at
            day, second = day - 1, _DAY
        return -1

    def _next_served(self, name: str, moment: int) -> int:
        day, second = divmod(moment, _DAY)
        while day <= self._last:
            seconds = self._days.get((name, day))
            if seconds is not None and (at := seconds.find(self._SERVED, second)) >= 0:
                return day * _DAY + at
            day, second = day + 1, 0
        return (self._last + 1) * _DAY

    def _has_failed(self, name: str, start: int, end: int) -> bool:
        for day in range(max(start // _DAY, self._first), min(end // _DAY, self._last) + 1):
            seconds = self._days.get((name, day))
            low, high = max(start - day * _DAY, 0), min(end - day * _DAY, _DAY)
            if seconds is not None and seconds.find(self._FAILED, low, high) >= 0:
                return True
        return False


def _down_since(changes: list[tuple[int, bool]], when: int) -> int | None:
    """Return since when it is down: 0 if the first change brought it up, None if it is up."""
    index = bisect_right(changes, (when, True)) - 1
    if index < 0:
        return 0 if changes[0][1] else None
    while index and not changes[index][1] and not changes[index - 1][1]:  # drain, then down: one absence
        index -= 1
    return None if changes[index][1] else changes[index][0]


def _labels(pool: PoolConfig) -> dict[str, str]:
    """Map what logs may call a backend to its name: name, address, or nginx's text of the server."""
    labels = {str(backend.address): backend.name for backend in pool.backend}
    labels |= {backend.server: backend.name for backend in pool.backend if backend.server}
    return labels | {backend.name: backend.name for backend in pool.backend}


def _shown(server: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in server[:80])
