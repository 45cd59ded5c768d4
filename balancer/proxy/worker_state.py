"""The data plane's shared state: what every connection of a worker refers to. A reload changes it in place."""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import count
from typing import Protocol, runtime_checkable

import trio

from balancer.config import model
from balancer.errors import ProxyError, Source
from balancer.net.admission import Admission
from balancer.net.dial import IdleConnections
from balancer.net.engine import Closed, Engine, Task
from balancer.pool.digest import Digest
from balancer.pool.pool import Pool
from balancer.pool.tracing import Passes
from balancer.proxy.accesslog import AccessLog
from balancer.proxy.backend_tls import TlsToBackends
from balancer.proxy.listener_state import GRACE, ListenerState
from balancer.proxy.tunnel_registry import TunnelRegistry
from balancer.shared.buckets import Metered
from balancer.shared.counters import SharedCounters
from balancer.shared.sketch import SketchCells

DIGESTS_KEPT = 4096
"""Tokens whose digests are remembered; hashing one for each line of the access log would be a sixth of its cost."""


@runtime_checkable
class Session(Protocol):
    """What the plane knows of a connection: enough to end it."""

    task: Task
    front: "ListenerState"
    idle: bool
    """Between two requests, so that nothing is lost when it closes."""
    served: bool
    """It has asked something."""


class WorkerState:
    """One per worker: engine, pools, limits, log, and every open connection."""

    def __init__(
        self, config: model.Config, engine: Engine, log: AccessLog, secret: bytes, shared_counters: SharedCounters
    ) -> None:
        self.engine = engine
        self.log = log
        self.digest = lru_cache(DIGESTS_KEPT)(Digest(secret))
        self.passes = Passes(secret)
        self.admission = Admission(engine, config.limits, shared_counters)
        self.pools: Mapping[str, Pool] = {}
        self.tokens = shared_counters.buckets(Metered.TOKENS)
        """How fast each token may make new connections."""
        self.idle: defaultdict[object, IdleConnections] = defaultdict(IdleConnections)
        """By the ``connection_key`` of their backend."""
        self._secured: dict[str, TlsToBackends] = {}
        self.tunnel_registry = TunnelRegistry(engine)
        self.sessions: set[Session] = set()
        self.empty = trio.Event()
        """Set when the last connection has ended during a drain."""
        self.draining = False
        self.next_request_id: Callable[[], bytes] = _request_ids()
        self.configure(config)

    def configure(self, config: model.Config) -> None:
        """Keep to these limits and timeouts from now on."""
        self.timeouts = config.timeouts
        self.max_head = config.limits.max_head_bytes
        self.max_body = config.limits.max_body_bytes
        self.admission.limits = config.limits

    def secured(self, pool: Pool) -> TlsToBackends:
        """TLS towards the backends of a pool by its present configuration. Raises ``ProxyError``: ours is the fault."""
        secured = self._secured.get(pool.name)
        if secured is None or secured.config is not pool.config:
            try:
                secured = self._secured[pool.name] = TlsToBackends(pool.config)
            except OSError as error:
                raise ProxyError(Source.INTERNAL, 503, f"no TLS to backends: {error.strerror}") from None
        return secured

    def part(self, session: Session, front: ListenerState, places: SketchCells | None) -> None:
        """A connection has ended; ``places`` are those at which its client was counted."""
        self.sessions.discard(session)
        self.leave(front)
        if places is not None:
            self.admission.depart(places)
        if self.draining and not self.sessions:
            self.empty.set()

    def leave(self, front: ListenerState) -> None:
        """A connection to ``front`` makes room for another."""
        front.room.leave()
        self.admission.connections.leave()

    def drain(self, fronts: Iterable[ListenerState]) -> None:
        """Stop accepting; connections between two requests end now, the others after the request they are in."""
        leaving = set(fronts)
        for front in leaving:
            front.draining = True
            for acceptor in [each for acceptors in front.acceptors.values() for each in acceptors]:
                acceptor.stop()
            front.acceptors.clear()
        for session in [session for session in self.sessions if session.idle and session.front in leaving]:
            if not session.served:
                session.task.expires = min(session.task.expires, self.engine.now + GRACE)
            else:
                self.engine.throw(session.task, Closed())

    def drain_all(self, fronts: Iterable[ListenerState]) -> None:
        """Drain for good; ``empty`` tells when it is over."""
        self.draining = True
        if not self.sessions:
            self.empty.set()
        self.drain(fronts)

    def close(self, why: str, fronts: Iterable[ListenerState] | None = None) -> None:
        """End whatever is still open, on ``fronts`` or everywhere."""
        leaving = None if fronts is None else set(fronts)
        for session in list(self.sessions):
            if leaving is None or session.front in leaving:
                self.engine.throw(session.task, Closed(why))

    def tidy(self) -> None:
        """Called every second: what has lingered ends, what pools that are gone have left is dropped, backend
        connections nobody has used for long are closed, and the gate looks at memory and tells whom it refused.
        """
        self.admission.weigh()
        self.admission.report()
        for pool in self.pools.values():
            pool.leases.expire(self.engine.now)
        ways = {backend.connection_key for pool in self.pools.values() for backend in pool.backends.values()}
        for name in self._secured.keys() - self.pools.keys():
            del self._secured[name]
        oldest = self.engine.now - self.timeouts.idle
        for connection_key, connections in list(self.idle.items()):
            connections.expire(oldest if connection_key in ways else math.inf)
            if not connections:
                del self.idle[connection_key]

    def release(self) -> None:
        """Give back what is held beside the sessions: kept backend connections and the reserve descriptor."""
        for connections in self.idle.values():
            connections.expire(math.inf)
        self.admission.close()


def _request_ids() -> Callable[[], bytes]:
    """Ids no other process gives: 12 random bytes of this one and a counter."""
    prefix = os.urandom(12).hex().encode()
    numbers = count()
    return lambda: b"%b%08x" % (prefix, next(numbers) & 0xFFFFFFFF)
