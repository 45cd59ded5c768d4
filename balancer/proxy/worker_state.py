"""The state that all connections of a worker share. A reload changes it in place."""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import trio

from balancer.config.settings import KeySettings, LimitSettings, TimeoutSettings
from balancer.net.admission import Admission
from balancer.net.dial import IdleConnections
from balancer.net.engine import Closed, Engine, Task
from balancer.net.peers import PeerWatch
from balancer.pool.digest import CachedDigest
from balancer.pool.pool import Pool
from balancer.pool.tracing import Passes
from balancer.proxy.accesslog import AccessLog
from balancer.proxy.backend_tls import TlsToBackends
from balancer.proxy.challenge import Challenges
from balancer.proxy.listener_state import FIRST_REQUEST_TIMEOUT, ListenerState
from balancer.proxy.request_ids import RequestIds
from balancer.proxy.tunnel_registry import TunnelRegistry
from balancer.shared.buckets import Metered
from balancer.shared.counters import SharedCounters
from balancer.shared.sketch import SketchCells

if TYPE_CHECKING:
    from balancer.proxy.remembering import Remembering


class ClientConnection(Protocol):
    """What has to be known of a client's connection to count it and to end it: see ``balancer.proxy.connection``."""

    task: Task
    listener: ListenerState
    cells: SketchCells | None
    idle: bool
    served: bool


class WorkerState:
    """One per worker: engine, pools, limits, log, and every open connection. A reload changes it in place."""

    def __init__(self, engine: Engine, log: AccessLog, shared_counters: SharedCounters) -> None:
        self.engine = engine
        self.log = log
        self.admission = Admission(engine, LimitSettings(), shared_counters)
        self.pools: Mapping[str, Pool] = {}
        self.removed_pools: dict[str, Pool] = {}
        """Pools that the configuration does not have any more, while they carry something."""
        self.tokens = shared_counters.buckets(Metered.TOKENS)
        """The rate of new connections of each token."""
        self.idle: defaultdict[object, IdleConnections] = defaultdict(IdleConnections)
        """Idle connections to backends, by the ``connection_key`` of the backend."""
        self.backend_tls: Mapping[str, TlsToBackends] = {}
        """TLS to backends, by the pools that use it."""
        self.challenges = Challenges(engine)
        self.tunnel_registry = TunnelRegistry(engine)
        self.connections: set[ClientConnection] = set()
        """All open connections of clients."""
        self.empty = trio.Event()
        """Set when the last connection has ended during a drain."""
        self.draining = False
        self.request_ids = RequestIds()
        self.remembering: Remembering | None = None
        """Keeps tokens in cookies; None if no pool does."""
        self._keys: KeySettings | None = None
        self._peers = PeerWatch(engine, math.inf)
        self.configure(LimitSettings(), TimeoutSettings(), KeySettings())

    def configure(self, limits: LimitSettings, timeouts: TimeoutSettings, keys: KeySettings) -> None:
        """Use these limits, timeouts and keys from now on."""
        self.timeouts = timeouts
        self._peers.timeout = timeouts.send
        self.max_head = limits.max_head_bytes
        self.max_body = limits.max_body_bytes
        self.admission.limits = limits
        if keys != self._keys:
            self._keys = keys
            self.digest = CachedDigest(keys.digest)
            self.passes = Passes(*keys.passes)

    def remove(self, connection: ClientConnection) -> None:
        """Stop counting a connection that has ended."""
        self.connections.discard(connection)
        self.leave(connection.listener)
        if connection.cells is not None:
            self.admission.depart(connection.cells)
        if self.draining and not self.connections:
            self.empty.set()

    def leave(self, listener: ListenerState) -> None:
        """Count one connection to ``listener`` less, which makes room for another."""
        listener.connection_limit.leave()
        self.admission.connections.leave()

    def drain(self, listeners: Iterable[ListenerState]) -> None:
        """Stop accepting; close connections after the request that is under way, or comes next."""
        for listener in set(listeners):
            listener.draining = True
            for acceptor in [each for acceptors in listener.acceptors.values() for each in acceptors]:
                acceptor.stop()
            listener.acceptors.clear()

    def close_between_requests(self) -> None:
        """Close the connections of draining listeners that are between two requests; their clients may be sending one.

        A client that has made none yet has ``FIRST_REQUEST_TIMEOUT`` for it.
        """
        for connection in [each for each in self.connections if each.idle and each.listener.draining]:
            if not connection.served:
                connection.task.expires = min(connection.task.expires, self.engine.now + FIRST_REQUEST_TIMEOUT)
            else:
                self.engine.throw(connection.task, Closed())

    def drain_all(self, listeners: Iterable[ListenerState]) -> None:
        """Drain for good; ``empty`` is set when the last connection has ended."""
        self.draining = True
        if not self.connections:
            self.empty.set()
        self.drain(listeners)

    def close(self, why: str, listeners: Iterable[ListenerState] | None = None) -> None:
        """Close what is still open, on ``listeners`` or on all of them; ``why`` is for the access log."""
        leaving = None if listeners is None else set(listeners)
        for connection in list(self.connections):
            if leaving is None or connection.listener in leaving:
                self.engine.throw(connection.task, Closed(why))

    async def close_slowly(
        self, why: str, listeners: Iterable[ListenerState] | None = None, spread: float | None = None
    ) -> None:
        """Close what is still open, as ``close`` does: users whole, all others singly.

        It takes ``spread`` seconds, ``timeouts.close_spread`` without one.
        The moment of a user follows from the digest of their token, so that workers close all tabs of one together.
        """
        leaving = None if listeners is None else set(listeners)
        tokens = {tunnel.task: tunnel.token for tunnel in self.tunnel_registry.tunnels.values()}
        due: list[tuple[float, ClientConnection]] = []
        for connection in self.connections:
            if leaving is None or connection.listener in leaving:
                token = tokens.get(connection.task)
                place = random.random() if token is None else int(self.digest(token), 16) / 2**64
                due.append((place, connection))
        began = trio.current_time()
        spread = self.timeouts.close_spread if spread is None else spread
        for place, connection in sorted(due, key=lambda each: each[0]):
            await trio.sleep_until(began + place * spread)
            if connection in self.connections:
                self.engine.throw(connection.task, Closed(why))

    def tidy(self) -> None:
        """Do what is due every second. A part of it that fails is logged and counted; the others are done."""
        for part in (
            self.admission.check_memory,
            self.admission.report,
            self._expire_leases,
            self._close_old_connections,
            self._forget_tls_sessions,
        ):
            try:
                part()
            except Exception:
                self.engine.crashed("housekeeping failed; it is tried again in a second")

    def _expire_leases(self) -> None:
        for pool in (*self.pools.values(), *self.removed_pools.values()):
            pool.leases.expire(self.engine.now)
        for name in [name for name, pool in self.removed_pools.items() if not pool.leases and not pool.busy]:
            del self.removed_pools[name]

    def _close_old_connections(self) -> None:
        """Close idle connections to backends that are too old, or whose backends have changed or gone."""
        current = {backend.connection_key for pool in self.pools.values() for backend in pool.backends.values()}
        before = self.engine.now - self.timeouts.idle
        for connection_key, connections in list(self.idle.items()):
            connections.expire(before if connection_key in current else math.inf)
            if not connections:
                del self.idle[connection_key]

    def _forget_tls_sessions(self) -> None:
        for name, tls in self.backend_tls.items():
            tls.forget(set(self.pools[name].backends.values()))

    def close_idle(self) -> None:
        """Close all idle backend connections, to free their descriptors."""
        for connections in self.idle.values():
            connections.expire(math.inf)

    def release(self) -> None:
        """Close what is open beside the clients' connections: idle backend connections and the reserve descriptor."""
        self.close_idle()
        self.admission.close()
