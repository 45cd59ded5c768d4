"""Does a ring place users as the balancer before it did? Its requests are compared one by one, differences explained.

Facts. A balancer that hashes alike still sends some requests elsewhere: a server was down, or refused, and the next one
took its users. haproxy logs when servers go and come, if its log is read whole; nginx does not. But a server that is
down serves nobody at all, and that shows: for each server we note the seconds in which it served. A difference is put
down to an outage if each server the ring would have preferred was silent around it, and if in that silence a try on it
failed, or many requests of its users went elsewhere. With a wrong ring, servers are busy with each other's users, and
nothing is silent. A server that is nowhere in the log proves nothing: it may not have been there at all. Requests are
logged when they end, tunnels hours after they were placed; so nothing here depends on the order of lines.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile

from balancer.config.model import Pool
from balancer.config.plain import token_settings
from balancer.errors import ProxyError, Refused
from balancer.http.head import Request as Head
from balancer.http.token import extract
from balancer.migrate.logs.entry import Change, Request
from balancer.ring.base import Ring
from balancer.ring.build import build

KEPT = 50_000
"""Differences that are looked into; what there is beyond them counts as unexplained."""
EXAMPLES = 3
ENOUGH = 10
"""Differences in one silence of a server that show it was down, without any other sign."""
GRACE = 2
"""Seconds around a change of a server in which requests may have been placed before it as well as after."""
_DAY = 86_400
_MOST_DAYS = 4096
"""Days of servers to keep in mind: 86,400 bytes each."""
_OWNERS_KEPT = 1 << 16
_USERS_KEPT = 10_000


class Cause(StrEnum):
    """Why a request was not where the ring has its user. The first four are open questions, the others explain it."""

    DIFFERS = "differs"
    ABSENT = "belongs on a host that the log never mentions"
    STRANGER = "served by a host that this pool does not have"
    REFUSED = "would be refused here"
    DOWN = "host was down, as the log or the operator says"
    SILENT = "host served nobody at that time"
    REDISPATCHED = "redispatched"
    PASSED_ON = "tried there, and passed on"
    COOKIE = "placed by a cookie"
    BOUND = "ambiguous: the load is bounded, and no log says how it was"

    @property
    def explains(self) -> bool:
        return self not in (Cause.DIFFERS, Cause.ABSENT, Cause.STRANGER, Cause.REFUSED)


@dataclass
class Group:
    """Requests that differ in one way."""

    cause: Cause
    owner: str
    """Where the ring has these users."""
    served: str
    """Where they went."""
    requests: int = 0
    users: set[str] = field(default_factory=set)
    """Digests of their tokens, up to 10,000."""
    first: int | None = None
    last: int | None = None
    examples: list[tuple[str, str]] = field(default_factory=list)
    """Line and digest of a few."""

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
class Verdict:
    """What the comparison has come to."""

    pool: str
    fingerprint: str
    backends: int
    agreed: int
    """Requests that went where the ring has their users."""
    groups: list[Group]
    """The others: first what is not explained, the most frequent first."""
    left_out: Mapping[str, int]
    """Requests that could not be compared, by reason."""

    @property
    def compared(self) -> int:
        return self.agreed + sum(group.requests for group in self.groups)

    @property
    def proved(self) -> bool:
        """Something was compared, and all of it agrees or is explained."""
        return self.compared > 0 and all(group.cause.explains for group in self.groups)


@dataclass(frozen=True, slots=True)
class _Difference:
    when: int | None
    served: str
    preferred: tuple[str, ...]
    """The owner, and further candidates before the one that served."""
    line: str
    digest: str


class Verifier:
    """Compares requests with the ring of ``pool``.

    ``digest`` is what stands for a token in examples. ``by_address`` says that the pool hashes the addresses of
    clients, as in ``tcp`` mode.
    """

    def __init__(self, pool: Pool, digest: Callable[[bytes], str], *, by_address: bool = False) -> None:
        self._pool = pool
        self._token = token_settings(pool.token)
        self._digest = digest
        self._by_address = by_address or pool.token.source == "client_ip"
        self._ring: Ring = build(pool)
        self._owner = lru_cache(maxsize=_OWNERS_KEPT)(self._ring.owner)
        self.labels = _labels(pool)
        """Backends by what others may call them; more may be added."""
        self._seen = _Seen()
        self._agreed = 0
        self._groups: dict[tuple[Cause, str, str], Group] = {}
        self._differences: list[_Difference] = []
        self._left_out: Counter[str] = Counter()

    def knows(self, server: str) -> bool:
        """Is this name or address one of the pool's backends?"""
        return server in self.labels

    def change(self, change: Change) -> None:
        """A server has gone or come back, or was away all the time if ``when`` is 0."""
        if self.knows(change.server):
            name = self.labels[change.server]
            self._seen.mention(name)
            self._seen.change(name, change.when, change.up)

    def request(self, request: Request, line: str) -> None:
        """A request; ``line`` says where it is logged. Raises ``Refused`` for a log too long to be kept in mind."""
        if not request.servers:
            self._left_out["no host was asked"] += 1
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

    def verdict(self) -> Verdict:
        """What has come of it, with all that has been logged in view. For once only, at the end."""
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
        return Verdict(
            self._pool.name,
            self._ring.fingerprint,
            len(self._ring.members),
            self._agreed,
            groups,
            dict(self._left_out),
        )

    def _key(self, request: Request) -> bytes | None:
        """What is hashed; nothing if there is nothing to hash, which is counted."""
        if self._by_address:
            key = request.client.encode() or None
            reason = "no address of the client in the line"
        elif request.target is None:
            key, reason = None, "no whole request in the line"
        else:
            head = Head(b"GET", request.target, 1)
            head.fields = request.fields
            key, reason = extract(head, self._token), "no token"
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
    """Which server served in which second, and when it came and went; 86,400 bytes for each of its days."""

    _NOTHING, _SERVED, _FAILED = b"\0", b"\1", b"\2"

    def __init__(self) -> None:
        self._days: dict[tuple[str, int], bytearray] = {}
        self._first = self._last = 0
        self._changes: dict[str, list[tuple[int, bool]]] = {}
        self._missed: Counter[tuple[str, int]] = Counter()
        self._mentioned: set[str] = set()

    def mention(self, name: str) -> None:
        """It exists."""
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
        """Once all changes are known: the files may have come in any order."""
        for changes in self._changes.values():
            changes.sort()

    def missed(self, name: str, when: int) -> None:
        """Count a request that ``name`` should have had, if that falls into a silence and not just beside one."""
        if not self._served_at(name, when):
            self._missed[name, self._last_served(name, when) + 1] += 1

    def was_down(self, name: str, when: int) -> bool:
        """Do changes that were logged say so, and no request since? It may come back without a line."""
        starts = [start for start, _ in self._silences(name, when)]
        if not starts or name not in self._changes:
            return False
        since = (_down_since(self._changes[name], moment) for moment in range(when - GRACE, when + GRACE + 1))
        return any(each is not None and min(starts) <= each + GRACE + 1 for each in since)

    def was_silent(self, name: str, when: int) -> bool:
        """Did it serve nobody around that time, and was it asked?"""
        return any(
            self._missed[name, start] >= ENOUGH or self._has_failed(name, start, end)
            for start, end in self._silences(name, when)
        )

    def _silences(self, name: str, when: int) -> list[tuple[int, int]]:
        """Seconds without a served request, around this one, or next to it if it served just then: [start, end)."""
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
                raise Refused(f"the logs span more than {_MOST_DAYS} days of hosts: verify fewer of them at a time")
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
    """Since when it is down; 0 if it was before the first change, which brought it back. None if it is up."""
    index = bisect_right(changes, (when, True)) - 1
    if index < 0:
        return 0 if changes[0][1] else None
    while index and not changes[index][1] and not changes[index - 1][1]:  # drain, then down: one absence
        index -= 1
    return None if changes[index][1] else changes[index][0]


def _labels(pool: Pool) -> dict[str, str]:
    """How logs may call the backends: by name, by address, as nginx's configuration does."""
    labels = {str(backend.address): backend.name for backend in pool.backend}
    labels |= {backend.server: backend.name for backend in pool.backend if backend.server}
    return labels | {backend.name: backend.name for backend in pool.backend}


def _shown(server: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in server[:80])
