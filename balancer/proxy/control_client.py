"""A worker's side of the conversation with control: what control says is put in force, what happened here is told.

A ``Setup`` is everything and may come again at any time: what is the same stays as it is, so connections and counters
outlive it. A pool or listener that is gone lives on with the connections it still has.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from balancer.config import model
from balancer.ipc.messages import Answer, Applied, Ask, End, PoolSnapshot, Setup, Update, WorkerReport
from balancer.net.listen import Acceptor
from balancer.pool.counts import Counts, pool_counters, pool_gauges
from balancer.pool.placement import Placement
from balancer.pool.pool import Pool
from balancer.proxy.client import handler
from balancer.proxy.listener_state import ListenerState
from balancer.proxy.listening_sockets import ListeningSockets
from balancer.proxy.worker_state import WorkerState

logger = logging.getLogger("balancer.worker")


class ControlClient:
    """``worker`` follows what control says, its listeners with sockets from ``sockets``."""

    def __init__(self, worker: WorkerState, sockets: ListeningSockets, nursery: trio.Nursery) -> None:
        self.worker = worker
        self.fronts: dict[str, ListenerState] = {}
        self.generation = 0
        self._sockets = sockets
        self._nursery = nursery
        self._leaving: set[ListenerState] = set()
        """Listeners that are gone, while they have connections."""

    async def hear(self, message: object, post: Callable[[object], None]) -> None:
        """Do what a message of control asks for."""
        match message:
            case Setup():
                await self._set_up(message)
                post(self._applied(message.number))
            case Update():
                pool = self.worker.pools.get(message.pool)
                if pool is not None:
                    self._update(pool, message.placement, message)
                post(self._applied(message.number))
            case End():
                self.worker.tunnel_registry.end(message.sessions, message.why)
            case Ask():
                value = getattr(self, f"answer_{message.what}")(*message.args)
                post(Answer(message.number, value))

    def drain(self) -> None:
        """Accept nobody more, for good."""
        self.worker.drain_all([*self.fronts.values(), *self._leaving])

    def answer_report(self) -> WorkerReport:
        """Everything that was counted here."""
        worker = self.worker
        counters: Counts = {
            "refused_connections": dict(worker.admission.refused),
            "crashes": worker.engine.crashes,
            "log_lines_dropped": worker.log.dropped,
            "loop_lag": list(worker.engine.lag.counts),
            "loop_lag_sum": worker.engine.lag.sum,
            "listeners": {
                name: {each: getattr(front, each) for each in ListenerState.COUNTERS}
                for name, front in self.fronts.items()
            },
            "pools": {name: pool_counters(pool) for name, pool in worker.pools.items()},
        }
        gauges: Counts = {
            "connections": worker.admission.connections.held,
            "starved": int(worker.admission.starved),
            "listeners": {name: {"open": front.room.held} for name, front in self.fronts.items()},
            "sessions": len(worker.sessions),
            "tunnels": len(worker.tunnel_registry.tunnels),
            "pools": {name: pool_gauges(pool, worker.engine.now) for name, pool in worker.pools.items()},
        }
        tallies = {
            name: {each.name: each.take() for each in pool.backends.values()}
            for name, pool in worker.pools.items()
            if pool.config.health.passive.mode != "off"
        }
        return WorkerReport(counters, gauges, tallies)

    def answer_sessions(self, most: int) -> list[dict[str, Any]]:
        """Open tunnels, the oldest first; users by digest."""
        tunnels = list(self.worker.tunnel_registry.tunnels.values())[:most]
        return [
            {
                "session": tunnel.number,
                "pool": tunnel.pool.name,
                "listener": tunnel.listener,
                "user": self.worker.digest(tunnel.token) if tunnel.token is not None else None,
                "backend": tunnel.backend.name,
                "client": tunnel.client.address,
                "since": tunnel.since,
                "bytes_in": tunnel.transport.sent,
                "bytes_out": tunnel.transport.received,
            }
            for tunnel in tunnels
        ]

    def answer_level(self, level: str) -> bool:
        """Log from this level on."""
        logging.getLogger().setLevel(level.upper())
        return True

    def _applied(self, number: int) -> Applied:
        rings = {name: pool.placement.ring.fingerprint for name, pool in self.worker.pools.items()}
        return Applied(number, self.generation, rings)

    async def _set_up(self, setup: Setup) -> None:
        worker = self.worker
        worker.configure(setup.config)
        pools = {config.name: self._pool(config, setup.pools[config.name]) for config in setup.config.pool}
        worker.pools = pools
        moved = self._give_up(setup)
        for listener in setup.config.listener:
            certificates = setup.certificates.get(listener.name, ())
            front = self.fronts.get(listener.name)
            if front is None:
                room = worker.admission.connection_limit(listener.max_connections, setup.slots[listener.name])
                front = self.fronts[listener.name] = ListenerState(listener, pools, room, certificates)
            else:
                front.configure(listener, pools, certificates)
            await self._listen(front, setup.keys[listener.name], setup.sockets, moved)
        self.generation = setup.generation

    def _pool(self, config: model.Pool, state: PoolSnapshot) -> Pool:
        pool = self.worker.pools.get(config.name)
        if pool is None:
            pool = Pool(config, state.placement)
            pool.share(self.worker.admission.shared_counters)
        else:
            pool.configure(config)
        self._update(pool, state.placement, state)
        for lease in pool.leases.all():  # what control does not say any more is over
            if lease.elsewhere and lease.token not in state.places:
                pool.leases.follow(lease.token, None)
        return pool

    def _update(self, pool: Pool, placement: Placement | None, news: PoolSnapshot | Update) -> None:
        if placement is not None:
            pool.place(placement)
        if news.availabilities:
            pool.stand(news.availabilities)
        for token, place in news.places.items():
            pool.leases.follow(token, place)

    def _give_up(self, setup: Setup) -> dict[str, list[Acceptor]]:
        """Part with listeners and addresses that are gone; acceptors on those that another listener has now."""
        owners = {key: name for name, keys in setup.keys.items() for key in keys}
        moved: dict[str, list[Acceptor]] = {}
        for name, front in self.fronts.items():
            for key in [key for key in front.acceptors if owners.get(key) != name]:
                acceptors = front.acceptors.pop(key)
                if key in owners:
                    moved[key] = acceptors
                else:
                    for acceptor in acceptors:
                        acceptor.stop()
        for name in [name for name in self.fronts if name not in setup.keys]:
            self._dismiss(self.fronts.pop(name))
        return moved

    async def _listen(
        self, front: ListenerState, keys: Sequence[str], version: int, moved: Mapping[str, list[Acceptor]]
    ) -> None:
        """Accept from the sockets of these keys, as the listener is now."""
        admission, handle = self.worker.admission, handler(self.worker, front)
        crowded = (admission.handshakes,) if front.tls is not None else ()
        for key in keys if not self.worker.draining else ():
            if key in moved:
                front.acceptors[key] = moved[key]
            for acceptor in front.acceptors.get(key, ()):
                acceptor.serve(front.room, handle, crowded)
            if key in front.acceptors:
                continue
            sockets = await self._sockets.take(key, version)
            if sockets:
                front.acceptors[key] = [Acceptor(admission, front.room, sock, handle, crowded) for sock in sockets]
                for acceptor in front.acceptors[key]:
                    acceptor.start()

    def _dismiss(self, front: ListenerState) -> None:
        """A listener is gone: its connections, if there are any, have the time of a drain."""
        self.worker.drain([front])
        if front.room.held:
            self._leaving.add(front)
            self._nursery.start_soon(self._see_off, front)

    async def _see_off(self, front: ListenerState) -> None:
        await trio.sleep(self.worker.timeouts.drain)
        self.worker.close("its listener has been removed", [front])
        self._leaving.discard(front)
