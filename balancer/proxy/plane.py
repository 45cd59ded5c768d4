"""The data plane's shared state: what every connection of a worker refers to."""

import math
import os
import ssl
from collections import defaultdict
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from itertools import count
from typing import Protocol, runtime_checkable

import trio

from balancer.config import model
from balancer.errors import ProxyError, Source
from balancer.http.route import Routes
from balancer.net.contexts import server_context
from balancer.net.dial import IdleConnections
from balancer.net.engine import Closed, Engine, Task
from balancer.net.gate import Gate, Room
from balancer.net.secure import Secured
from balancer.pool.backend import Backend
from balancer.pool.board import Board, Metered, Places
from balancer.pool.digest import Digest
from balancer.pool.pool import Pool
from balancer.pool.tracing import Passes
from balancer.proxy.accesslog import AccessLog

GRACE = 1.0
"""Seconds a client that has connected but not asked anything yet has left for it when the daemon drains: its request is
likely to be on the way, and a client whose first request meets a closed connection may not try again."""


@runtime_checkable
class Session(Protocol):
    """What the plane knows of a connection: enough to end it."""

    task: Task
    idle: bool
    """Between two requests, so that nothing is lost when it closes."""
    served: bool
    """It has asked something."""


class Front:
    """A listener at run time."""

    __slots__ = ("config", "connections", "handshake_failures", "pool", "pools", "room", "routes", "scheme", "tls")

    def __init__(self, config: model.Listener, pools: Mapping[str, Pool], room: Room) -> None:
        self.config = config
        self.pools = pools
        self.pool = pools[config.pool]
        """Where clients go for whom no route says otherwise."""
        self.room = room
        """Its open connections."""
        self.routes = Routes(config.route) if config.route else None
        self.tls: ssl.SSLContext | None = server_context(config.tls) if config.tls else None
        self.scheme = b"https" if config.tls else b"http"
        self.connections = 0
        """Accepted since the start."""
        self.handshake_failures = 0
        """Of them, those whose PROXY header or TLS handshake failed."""

    def trusts(self, host: str) -> bool:
        """Is this peer believed about who the client is?"""
        if not self.config.trusted:
            return False
        address = ip_address(host)
        return any(address in network for network in self.config.trusted)


class Plane:
    """One per worker: engine, pools, limits, log, and every open connection."""

    def __init__(
        self,
        config: model.Config,
        pools: Mapping[str, Pool],
        engine: Engine,
        log: AccessLog,
        digest: Digest,
        passes: Passes,
        board: Board,
    ) -> None:
        self.engine = engine
        self.timeouts = config.timeouts
        self.max_head = config.limits.max_head_bytes
        self.max_body = config.limits.max_body_bytes
        self.log = log
        self.digest = digest
        self.passes = passes
        self.gate = Gate(engine, config.limits, board)
        self.pools = pools
        for pool in pools.values():
            pool.share(board)
        self.tokens = board.buckets(Metered.TOKENS)
        """How fast each token may make new connections."""
        self.idle: defaultdict[Backend, IdleConnections] = defaultdict(IdleConnections)
        self._secured: dict[str, Secured] = {}
        self.sessions: set[Session] = set()
        self.draining = False
        self.empty = trio.Event()
        """Set when the last connection has ended during a drain."""
        self.next_request_id: Callable[[], bytes] = _request_ids()

    def front(self, config: model.Listener, number: int) -> Front:
        """A listener of this plane, with its certificates loaded; ``number`` is the same in every worker."""
        return Front(config, self.pools, self.gate.room(config.max_connections, number))

    def secured(self, pool: Pool) -> Secured:
        """TLS towards the backends of a pool by its present configuration. Raises ``ProxyError``: ours is the fault."""
        secured = self._secured.get(pool.name)
        if secured is None or secured.config is not pool.config:
            try:
                secured = self._secured[pool.name] = Secured(pool.config)
            except OSError as error:
                raise ProxyError(Source.INTERNAL, 503, f"no TLS to backends: {error.strerror}") from None
        return secured

    def part(self, session: Session, front: Front, places: Places | None) -> None:
        """A connection has ended; ``places`` are those at which its client was counted."""
        self.sessions.discard(session)
        self.leave(front)
        if places is not None:
            self.gate.depart(places)
        if self.draining and not self.sessions:
            self.empty.set()

    def leave(self, front: Front) -> None:
        """A connection to ``front`` makes room for another."""
        front.room.leave()
        self.gate.connections.leave()

    def drain(self) -> None:
        """Stop accepting; connections between two requests end now, the others after the request they are in."""
        self.draining = True
        if not self.sessions:
            self.empty.set()
        for acceptor in list(self.gate.acceptors):
            if acceptor.task is not None:
                self.engine.throw(acceptor.task, Closed())
        for session in list(self.sessions):
            if session.idle and not session.served:
                session.task.expires = min(session.task.expires, self.engine.now + GRACE)
            elif session.idle:
                self.engine.throw(session.task, Closed())

    def close(self) -> None:
        """End whatever is still open."""
        for session in list(self.sessions):
            self.engine.throw(session.task, Closed("the balancer stops"))

    def tidy(self) -> None:
        """Called every second: what has lingered ends, backend connections nobody has used for long are closed, and the
        gate looks at memory and tells whom it refused.
        """
        self.gate.weigh()
        self.gate.report()
        for pool in self.pools.values():
            pool.leases.expire(self.engine.now)
        oldest = self.engine.now - self.timeouts.idle
        for connections in self.idle.values():
            connections.expire(oldest)

    def release(self) -> None:
        """Give back what is held beside the sessions: kept backend connections and the reserve descriptor."""
        for connections in self.idle.values():
            connections.expire(math.inf)
        self.gate.close()


def _request_ids() -> Callable[[], bytes]:
    """Ids no other process gives: 12 random bytes of this one and a counter."""
    prefix = os.urandom(12).hex().encode()
    numbers = count()
    return lambda: b"%b%08x" % (prefix, next(numbers) & 0xFFFFFFFF)
