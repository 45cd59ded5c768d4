"""A stream: one request of a client, or the bytes of a TCP connection, on its way to one backend of one pool.

It knows what belongs to the request alone: its pool, its token, what is logged of it. The connection it came over
(``balancer.proxy.connection``) may carry others before and after it.
"""

import time
from collections import defaultdict
from math import ceil
from os import urandom
from typing import Final, Literal

from balancer.config.settings import Answer, ChallengeFolder, Deny, Redirect, ToPool
from balancer.errors import ProxyError, Source
from balancer.http.head import Request
from balancer.http.token import extract, is_icon, is_preflight
from balancer.net.admission import client_key
from balancer.net.dial import IdleConnections
from balancer.pool.backend import Backend
from balancer.pool.pool import Pool
from balancer.proxy.connection import Connection
from balancer.proxy.record import Record

Outcome = Literal["connect", "timeout", "reset", "5xx"]
"""How a request can fail: see ``pool.health.passive.outcomes``."""
_USERS: Final = ("query", "header", "cookie")
"""Sources of tokens that name a user; a path or a server name many users have in common."""


class Stream:
    """One request, or one tunnel of a TCP listener."""

    token: bytes | None = None
    """The key that it is placed by; None if the pool spreads requests without a token. A default of the class, not of
    each object: one attribute less to set for each request."""
    remembers = False
    """The browser may keep the token in a cookie: it came from where the pool looks first, or is ours."""
    assigned = False
    """The token is new and ours: the client has to keep it."""

    def __init__(self, connection: Connection, record: Record) -> None:
        self.connection = connection
        self.worker = connection.worker
        self.task = connection.task
        self.client = connection.transport
        """The side of the client."""
        self.pool = connection.listener.pool
        """Where it belongs, unless a rule says otherwise; a reload may have changed it since the last request."""
        self.record = record

    def follow_rules(self, request: Request | None) -> Redirect | Answer | ChallengeFolder | None:
        """Choose the pool by the rules of the listener, if it has any; without a request, by name and client alone.

        Return what to answer instead. Raise ``ProxyError`` if a rule denies.
        """
        connection = self.connection
        rules = connection.listener.rules
        if rules is None:
            return None
        name, address = connection.server_name, connection.address
        if request is None:
            action = rules.of_connection(name, address, tls=connection.hello, certified=connection.certified)
        else:
            action = rules.of_request(request, name, address, certified=connection.certified)
        match action:
            case ToPool():
                self.pool = connection.listener.pools[action.name]
            case Deny():
                raise ProxyError(Source.INTERNAL, action.status, "a rule of the listener denies this")
            case Redirect() | Answer() | ChallengeFolder():
                return action
        return None

    def find_token(self, request: Request) -> None:
        """Set ``token`` to the key of ``request``. Raise ``ProxyError`` if it is missing, or comes too often."""
        connection, rule = self.connection, self.pool.token_rule
        place = rule.place.source
        token = connection.address_bytes if place == "client_ip" else extract(request, rule.place)
        if token is None:
            token, place = self._find_elsewhere(request)
        elif rule.remember:
            self.remembers = True
        places = self.pool.places
        places[place] = places.get(place, 0) + 1
        if token is None:
            return
        if self.worker.log.enabled:
            self.record.digest, self.record.token_from = self.worker.digest(token), place
        if rule.rate and not connection.metered:
            self._meter(token)
        self.token = token

    def _find_elsewhere(self, request: Request) -> tuple[bytes | None, str]:
        """Return the token of a request that has none at ``source``, and the place where it was found.

        Without a token, and ``none``, if any backend will do.
        """
        rule, connection, remembering = self.pool.token_rule, self.connection, self.worker.remembering
        for place in rule.fallback:
            token = extract(request, place)
            if token is not None:
                return token, place.source
        if rule.remember and remembering is not None:
            token = remembering.token(self.pool, request, secure=connection.is_secure(request))
            if token is not None:
                self.remembers = rule.missing == "assign"
                return token, "remember"
        if rule.missing == "spread" or is_preflight(request):
            return None, "none"
        if rule.missing == "assign":
            self.remembers = self.assigned = True
            return urandom(16).hex().encode(), "assigned"
        if rule.missing == "client_ip":
            return connection.address_bytes, "client_ip"
        if is_icon(request):  # the request of a browser, not of a page: no fault of anyone's
            raise ProxyError(Source.INTERNAL, 404, "there is none for requests without a token")
        raise ProxyError(Source.CLIENT, 400, "the token is missing")

    def _meter(self, token: bytes) -> None:
        """Count a new connection of this token. Raise 429 if there are too many."""
        worker, rule = self.worker, self.pool.token_rule
        cells = worker.admission.shared_counters.sketch_cells(self.pool.name.encode() + b"\0" + token)
        wait = worker.tokens.take(cells, worker.admission.clock(), rule.rate, rule.burst)
        if wait:
            self.pool.refused += 1
            error = ProxyError(Source.CLIENT, 429, "this user makes too many connections")
            error.retry_after = ceil(wait)
            raise error
        self.connection.metered = True

    def idle_connections(self) -> defaultdict[object, IdleConnections]:
        """Return the idle connections to choose from: those of all, or the client's own if they carry its address."""
        if self.pool.shares_connections:
            return self.worker.idle
        connection = self.connection
        if connection.own_idle is None:
            connection.own_idle = defaultdict(IdleConnections)
        return connection.own_idle

    def may_see(self, trace: bytes) -> bool:
        """Return whether the client may be told why it was placed where it was: it is trusted, or has a valid pass."""
        return self.connection.trusted or self.worker.passes.valid(trace, time.time())

    def explanation(self) -> bytes:
        """Return the decision as a field line of the response."""
        record = self.record
        skipped = "".join(f"; skipped={name} ({why})" for name, why in record.skipped)
        ring = self.pool.placement.ring.fingerprint
        found = f"; token_from={record.token_from}" if record.token_from else ""
        line = f"X-Balancer-Decision: {record.reason}; backend={record.backend}; ring={ring}{found}{skipped}\r\n"
        return line.encode()

    def blame(self, backend: Backend, outcome: Outcome) -> bool:
        """Count a failure that is not the client's against ``backend``; return whether such failures count here."""
        return blame(self.connection, self.pool, self.token, backend, outcome)

    def log(self, event: str) -> None:
        """Write one line of the access log."""
        self.connection.log(event, self.record, self.pool)


def blame(connection: Connection, pool: Pool, token: bytes | None, backend: Backend, outcome: Outcome) -> bool:
    """Count a failure of a request that came over ``connection``, as ``Stream.blame`` does."""
    passive = pool.settings.health.passive
    if passive.mode == "off" or outcome not in passive.outcomes:
        return False
    digest, address = connection.worker.digest, client_key(connection.address)
    named = connection.listener.config.mode == "http" and pool.settings.token.source in _USERS
    backend.tally.fail(digest(address), digest(token if named and token else address))
    return True
