"""A worker's side of the conversation with control: activate what control sends, report what happened here.

A ``Setup`` is everything and may come again at any time: what is the same stays as it is, so connections and counters
outlive it. A pool or listener that is gone lives on with the connections it still has.

Nothing that control sends may end a worker, for its tunnels would end with it. So each change is prepared first, with
everything that can fail or takes long (certificates, rings and tables, in a thread; sockets from the supervisor), and
then activated, which cannot fail. If the preparation fails, nothing has changed, and the answer is ``Rejected``.
"""

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec
import trio

from balancer.config.settings import ListenerSettings, PoolSettings
from balancer.ipc.messages import (
    Applied,
    End,
    NotUnderstood,
    Ping,
    Places,
    Pong,
    PoolSnapshot,
    Rejected,
    ReportRequest,
    Retire,
    SessionTraffic,
    SetLevel,
    Setup,
    Tested,
    TestYourself,
    TrafficRequest,
    Update,
    WorkerReport,
)
from balancer.ipc.placement import placement_of
from balancer.ipc.wire import Message, Unreadable
from balancer.net.contexts import ServerContexts
from balancer.net.listen import Acceptor
from balancer.pool.digest import Digest
from balancer.pool.placement import Placement
from balancer.pool.pool import Pool
from balancer.proxy.backend_tls import TlsToBackends
from balancer.proxy.departure import Departure
from balancer.proxy.listener_state import ListenerState, prepare_contexts
from balancer.proxy.listening_sockets import ListeningSockets, Sockets, SocketsMissing
from balancer.proxy.report import counters, gauges, tallies
from balancer.proxy.self_test import test_yourself
from balancer.proxy.serve import handler
from balancer.proxy.worker_state import WorkerState
from balancer.shared.log_level import set_level

if TYPE_CHECKING:
    from balancer.proxy.remembering import Remembering

logger = logging.getLogger("balancer.worker")

Post = Callable[[Message], None]


@dataclass
class _PreparedUpdate:
    """What a ``Setup`` needs, ready to be activated."""

    contexts: dict[str, ServerContexts | None]
    """Of listeners."""
    backend_tls: dict[str, TlsToBackends]
    """Of pools that speak TLS to their backends."""
    remembering: "Remembering | None"
    placements: dict[str, Placement]
    """Of pools."""


class ControlClient:
    """Keeps ``worker`` as control wants it; its listeners get their sockets from ``sockets``."""

    def __init__(self, worker: WorkerState, sockets: ListeningSockets, nursery: trio.Nursery) -> None:
        self.worker = worker
        self.listeners: dict[str, ListenerState] = {}
        self.generation = 0
        """Of the active configuration; 0 before the first."""
        self.departure = Departure()
        self._sockets = sockets
        self._nursery = nursery
        self._removed: set[ListenerState] = set()
        """Listeners that have been removed, while they have connections."""
        self._digest = Digest(b"")

    async def handle(self, message: Message | Unreadable, post: Post) -> bool:
        """Do what a message asks for; return false, and answer so, if that was impossible."""
        try:
            return await self._handle(message, post)
        except Exception as error:  # a fault of ours; it must not end the worker and its tunnels
            logger.exception("control sent a %s that cannot be processed; nothing was changed", type(message).__name__)
            if isinstance(message, Setup | Update):
                post(Rejected(message.number, f"{type(error).__name__}: {error}"))
            return False

    def drain(self) -> None:
        """Accept no more connections, for good."""
        self.worker.drain_all([*self.listeners.values(), *self._removed])

    async def _handle(self, message: Message | Unreadable, post: Post) -> bool:
        worker = self.worker
        match message:
            case Setup():
                return await self._try(message, self._set_up(message), post)
            case Update():
                return await self._try(message, self._update(message), post)
            case End() if message.spread:
                arguments = message.sessions, message.reason, message.spread
                self._nursery.start_soon(worker.tunnel_registry.end_slowly, *arguments)
            case End():
                worker.tunnel_registry.end(message.sessions, message.reason)
            case ReportRequest():
                counted = counters(worker, self.listeners), gauges(worker, self.listeners), tallies(worker)
                post(WorkerReport(message.number, *counted))
            case TrafficRequest():
                post(SessionTraffic(message.number, worker.tunnel_registry.traffic(message.sessions)))
            case SetLevel():
                set_level(message.level)
            case Retire():
                self.departure.ask(message.keep, message.spread, "another version serves in place of this one")
            case TestYourself():
                self._nursery.start_soon(self._test_yourself, message.number, post)
            case Ping():
                post(Pong(message.number))
            case NotUnderstood():
                logger.error("control did not understand a message: %s", message.reason)
            case Unreadable():
                logger.error("a message from control is ignored: %s", message.reason)
                post(NotUnderstood(message.type, message.version, message.reason))
                return False
        return True

    async def _test_yourself(self, number: int, post: Post) -> None:
        try:
            problem = await test_yourself(self.worker, list(self.listeners.values()))
        except Exception as error:
            logger.exception("the self-test failed")
            problem = f"{type(error).__name__}: {error}"
        post(Tested(number, problem))

    async def _try(self, message: Setup | Update, change: Coroutine[None, None, None], post: Post) -> bool:
        """Await a change, and answer how it went."""
        try:
            await change
        except (OSError, ValueError, SocketsMissing) as error:
            reason = str(error) or type(error).__name__
            logger.error("a change from control is rejected, what was active stays: %s", reason)
            post(Rejected(message.number, reason))
            return False
        fingerprints = {name: pool.placement.ring.fingerprint for name, pool in self.worker.pools.items()}
        post(Applied(message.number, self.generation, fingerprints))
        return True

    async def _set_up(self, setup: Setup) -> None:
        settings = setup.settings
        digest = Digest(setup.secret)
        try:
            prepared = await trio.to_thread.run_sync(self._prepare, setup, digest)
        except OSError:  # perhaps no descriptors are left; idle connections hold some
            self.worker.close_idle()
            prepared = await trio.to_thread.run_sync(self._prepare, setup, digest)
        present = {key for listener in self.listeners.values() for key in listener.acceptors}
        wanted = [key for each in settings.listener for key in each.socket_keys if key not in present]
        accepts = setup.accepts and not self.worker.draining
        sockets = await self._sockets.take(wanted if accepts else [], setup.sockets)
        self._digest = digest
        keys = msgspec.structs.replace(setup.keys, digest=setup.secret)
        self.worker.configure(settings.limits, settings.timeouts, keys)
        self.worker.remembering = prepared.remembering
        pools = {each.name: self._pool(each, setup.pools[each.name], prepared) for each in settings.pool}
        for name in self.worker.pools.keys() - pools.keys():
            self.worker.removed_pools[name] = self.worker.pools[name]
            self.worker.removed_pools[name].withdraw()
        self.worker.pools, self.worker.backend_tls = pools, prepared.backend_tls
        for config in settings.pool:
            if config.name in prepared.backend_tls:
                prepared.backend_tls[config.name].configure(config)
        moved = self._remove({each.name: each.socket_keys for each in settings.listener})
        for each in settings.listener:
            listener = self._listener(each, pools, prepared.contexts[each.name])
            self._listen(listener, {key: moved[key] for key in each.socket_keys if key in moved}, sockets)
        self.generation = setup.generation
        if sockets:
            self._sockets.give_back(sockets)
            raise SocketsMissing(f"the kernel does not let {', '.join(sockets)} be watched")

    def _prepare(self, setup: Setup, digest: Digest) -> _PreparedUpdate:
        """Make ready what can fail or takes long; runs in a thread. Raise ``OSError`` or ``ValueError``."""
        contexts = {}
        for each in setup.settings.listener:
            known = self.listeners.get(each.name)
            contexts[each.name] = known.prepare_contexts(each) if known is not None else prepare_contexts(each)
        backend_tls = {}
        for pool in setup.settings.pool:
            if pool.tls.enabled:
                former = self.worker.backend_tls.get(pool.name)
                kept = former is not None and former.tls == pool.tls
                backend_tls[pool.name] = former if former is not None and kept else TlsToBackends.build(pool.tls)
        placements = {}
        for pool in setup.settings.pool:
            snapshot = setup.pools[pool.name]
            placements[pool.name] = placement_of(snapshot.placement, digest)
            placements[pool.name].prepare(snapshot.availabilities)
        return _PreparedUpdate(contexts, backend_tls, _remembering(setup), placements)

    def _pool(self, config: PoolSettings, snapshot: PoolSnapshot, prepared: _PreparedUpdate) -> Pool:
        placement = prepared.placements[config.name]
        pool = self.worker.pools.get(config.name) or self.worker.removed_pools.pop(config.name, None)
        if pool is None:
            pool = Pool(config, placement, snapshot.availabilities)
        else:
            pool.configure(config)
            pool.place(placement, snapshot.availabilities)
        pool.share(self.worker.admission.shared_counters)
        pool.update_availability(snapshot.availabilities)
        self._follow(pool, snapshot.places)
        for lease in pool.leases.all():  # what control does not mention any more is over
            if lease.elsewhere and lease.token not in snapshot.places:
                pool.leases.follow(lease.token, None)
        return pool

    async def _update(self, update: Update) -> None:
        placement = None
        if update.placement is not None or any(each.out for each in update.availabilities.values()):
            placement = await trio.to_thread.run_sync(self._prepare_update, update)
        pool = self.worker.pools.get(update.pool)
        if pool is None:  # it has been removed meanwhile
            return
        if placement is not None:
            pool.place(placement, update.availabilities)
        if update.availabilities:
            pool.update_availability(update.availabilities)
        self._follow(pool, update.places)

    def _prepare_update(self, update: Update) -> Placement | None:
        """Make ready what takes long; runs in a thread. Return the new placement, if there is one."""
        pool = self.worker.pools.get(update.pool)
        placement = None if update.placement is None else placement_of(update.placement, self._digest)
        if pool is not None:
            known = {backend.name: backend.availability for backend in list(pool.backends.values())}
            (placement or pool.placement).prepare({**known, **update.availabilities})
        return placement

    def _follow(self, pool: Pool, places: Places) -> None:
        for token, place in places.items():
            pool.leases.follow(token, place)

    def _remove(self, keys: Mapping[str, Sequence[str]]) -> dict[str, list[Acceptor]]:
        """Part with listeners and sockets that are gone; return the acceptors that another listener has now."""
        owners = {key: name for name, mine in keys.items() for key in mine}
        moved: dict[str, list[Acceptor]] = {}
        for name, listener in self.listeners.items():
            for key in [key for key in listener.acceptors if owners.get(key) != name]:
                acceptors = listener.acceptors.pop(key)
                if key in owners:
                    moved[key] = acceptors
                else:
                    for acceptor in acceptors:
                        acceptor.stop()
        for name in [name for name in self.listeners if name not in keys]:
            self._see_off(self.listeners.pop(name))
        return moved

    def _listener(
        self, config: ListenerSettings, pools: Mapping[str, Pool], contexts: ServerContexts | None
    ) -> ListenerState:
        listener = self.listeners.get(config.name)
        if listener is None:
            limit = self.worker.admission.connection_limit(config.max_connections, config.slot)
            listener = self.listeners[config.name] = ListenerState(config, pools, limit, contexts)
        else:
            listener.configure(config, pools, contexts)
        return listener

    def _listen(self, listener: ListenerState, moved: Mapping[str, list[Acceptor]], sockets: Sockets) -> None:
        """Accept from the listener's sockets with its settings; take the new ones out of ``sockets``."""
        admission, handle = self.worker.admission, handler(self.worker, listener)
        others = (admission.handshakes,) if listener.tls is not None else ()
        listener.acceptors |= moved
        for acceptors in listener.acceptors.values():
            for acceptor in acceptors:
                acceptor.serve(listener.connection_limit, handle, others)
        for key in [key for key in listener.config.socket_keys if key in sockets]:
            acceptors = [Acceptor(admission, listener.connection_limit, sock, handle, others) for sock in sockets[key]]
            try:
                for acceptor in acceptors:
                    acceptor.start()
            except OSError:  # no memory, or no watches (epoll_ctl(2)): the next attempt may find some
                logger.exception("cannot accept from %s", key)
                continue
            listener.acceptors[key] = acceptors
            del sockets[key]

    def _see_off(self, listener: ListenerState) -> None:
        """Drain a listener that is gone: its connections have ``timeouts.drain``."""
        self.worker.drain([listener])
        self.worker.close_between_requests()
        if listener.connection_limit.held:
            self._removed.add(listener)
            self._nursery.start_soon(self._close_later, listener)

    async def _close_later(self, listener: ListenerState) -> None:
        await trio.sleep(self.worker.timeouts.drain)
        await self.worker.close_slowly("its listener has been removed", [listener])
        self._removed.discard(listener)


def _remembering(setup: Setup) -> "Remembering | None":
    """What remembers users, if a pool asks for it; a module of its own, because of the memory it takes."""
    names = {pool.token.remember for pool in setup.settings.pool} - {"off"}
    if not names:
        return None
    made: Remembering = import_module("balancer.proxy.remembering").Remembering(names, setup.keys.seals)
    return made
