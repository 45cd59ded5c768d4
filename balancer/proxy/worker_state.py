"""The data plane's shared state: what every connection of a worker refers to. A reload changes it in place."""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import count
from typing import Protocol, runtime_checkable

import trio

from balancer.config.settings import LimitSettings, TimeoutSettings
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
    listener: "ListenerState"
    idle: bool
    """Between two requests, so that nothing is lost when it closes."""
    served: bool
    """It has asked something."""


class WorkerState:
    """One per worker: engine, pools, limits, log, and every open connection. A reload changes it in place."""

    def __init__(self, engine: Engine, log: AccessLog, shared_counters: SharedCounters) -> None:
        self.engine = engine
        self.log = log
        self.admission = Admission(engine, LimitSettings(), shared_counters)
        self.pools: Mapping[str, Pool] = {}
        self.tokens = shared_counters.buckets(Metered.TOKENS)
        """How fast each token may make new connections."""
        self.idle: defaultdict[object, IdleConnections] = defaultdict(IdleConnections)
        """By the ``connection_key`` of their backend."""
        self.backend_tls: Mapping[str, TlsToBackends] = {}
        """By pool, for those that speak TLS to their backends."""
        self.tunnel_registry = TunnelRegistry(engine)
        self.sessions: set[Session] = set()
        self.empty = trio.Event()
        """Set when the last connection has ended during a drain."""
        self.draining = False
        self.next_request_id: Callable[[], bytes] = _request_ids()
        self._secret: bytes | None = None
        self.configure(LimitSettings(), TimeoutSettings(), b"")

    def configure(self, limits: LimitSettings, timeouts: TimeoutSettings, secret: bytes) -> None:
        """Keep to these limits and timeouts from now on; ``secret`` is the key of digests and trace passes."""
        self.timeouts = timeouts
        self.max_head = limits.max_head_bytes
        self.max_body = limits.max_body_bytes
        self.admission.limits = limits
        if secret != self._secret:
            self._secret = secret
            self.digest = lru_cache(DIGESTS_KEPT)(Digest(secret))
            self.passes = Passes(secret)

    def part(self, session: Session, listener: ListenerState, places: SketchCells | None) -> None:
        """A connection has ended; ``places`` are those at which its client was counted."""
        self.sessions.discard(session)
        self.leave(listener)
        if places is not None:
            self.admission.depart(places)
        if self.draining and not self.sessions:
            self.empty.set()

    def leave(self, listener: ListenerState) -> None:
        """A connection to ``listener`` makes room for another."""
        listener.connection_limit.leave()
        self.admission.connections.leave()

    def drain(self, listeners: Iterable[ListenerState]) -> None:
        """Stop accepting; connections between two requests end now, the others after the request they are in."""
        leaving = set(listeners)
        for listener in leaving:
            listener.draining = True
            for acceptor in [each for acceptors in listener.acceptors.values() for each in acceptors]:
                acceptor.stop()
            listener.acceptors.clear()
        for session in [session for session in self.sessions if session.idle and session.listener in leaving]:
            if not session.served:
                session.task.expires = min(session.task.expires, self.engine.now + GRACE)
            else:
                self.engine.throw(session.task, Closed())

    def drain_all(self, listeners: Iterable[ListenerState]) -> None:
        """Drain for good; ``empty`` tells when it is over."""
        self.draining = True
        if not self.sessions:
            self.empty.set()
        self.drain(listeners)

    def close(self, why: str, listeners: Iterable[ListenerState] | None = None) -> None:
        """End whatever is still open, on ``listeners`` or everywhere."""
        leaving = None if listeners is None else set(listeners)
        for session in list(self.sessions):
            if leaving is None or session.listener in leaving:
                self.engine.throw(session.task, Closed(why))

    def tidy(self) -> None:
        """Do what is due every second: end leases, close idle backend connections, check memory, report refusals."""
        self.admission.weigh()
        self.admission.report()
        for pool in self.pools.values():
            pool.leases.expire(self.engine.now)
        current = {backend.connection_key for pool in self.pools.values() for backend in pool.backends.values()}
        oldest = self.engine.now - self.timeouts.idle
        for connection_key, connections in list(self.idle.items()):
            connections.expire(oldest if connection_key in current else math.inf)
            if not connections:
                del self.idle[connection_key]
        for name, tls in self.backend_tls.items():
            tls.forget(set(self.pools[name].backends.values()))

    def close_idle(self) -> None:
        """Close all idle backend connections, to have descriptors for something else."""
        for connections in self.idle.values():
            connections.expire(math.inf)

    def release(self) -> None:
        """Give back what is held beside the sessions: kept backend connections and the reserve descriptor."""
        self.close_idle()
        self.admission.close()


def _request_ids() -> Callable[[], bytes]:
    """Ids no other process gives: 12 random bytes of this one and a counter."""
    prefix = os.urandom(12).hex().encode()
    numbers = count()
    return lambda: b"%b%08x" % (prefix, next(numbers) & 0xFFFFFFFF)
