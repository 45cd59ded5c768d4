"""The workers as control sees them: what they are told, what they tell, and all their tunnels as one.

Control's own pools are the sum of the workers': their leases hold every tunnel of every worker, their counters are laid
down from the workers' reports. So movers, plans and the admin API need not know that there are several.

Some facts. A worker gets everything when it attaches, changes after that; changes have numbers, and a worker says which
it has put in force, so whoever makes one can wait until it is. News takes milliseconds, in which two workers may send
two first tabs of one user to two hosts; control sees both, and has the older tab come back to where the newer one is.
"""

import logging
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import trio

from balancer.config.scalars import Level
from balancer.control.active_config import ActiveConfig
from balancer.control.placement_controller import PlacementController
from balancer.control.pool_state import PoolState
from balancer.control.publisher import Publisher
from balancer.ipc.link import Link
from balancer.ipc.messages import Answer, Applied, Ask, Attached, End, Ended, Opened, Setup, WorkerReport
from balancer.pool.counts import Counts, added, lay_down
from balancer.pool.leases import Lease
from balancer.shared.slots import Slots

logger = logging.getLogger("balancer.fleet")

TICK = 0.05
"""Seconds within which a change of health reaches the workers."""
COUNT_EVERY = 0.5
"""Seconds between two counts, when nobody asks for one."""
PATIENCE = 1.0
"""Seconds a worker may take to put a change in force, or to answer, before whoever waits goes on without it."""


@dataclass(eq=False, slots=True)
class RemoteTunnel:
    """A tunnel in a worker."""

    worker: "AttachedWorker"
    number: int
    pool_state: PoolState
    lease: Lease | None = None


@dataclass(eq=False)
class AttachedWorker:
    """A worker that is attached."""

    number: int
    pid: int
    link: Link
    tunnels: dict[int, RemoteTunnel] = field(default_factory=dict)
    applied: int = 0
    """The last change it has put in force."""
    generation: int = 0
    """Of its configuration."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    report: WorkerReport | None = None
    answers: dict[int, Answer | None] = field(default_factory=dict)
    """To questions that somebody waits for."""


class WorkerRegistry:
    """``counted`` is what workers had counted whom a former control process knew, by number and process."""

    def __init__(
        self, controller: PlacementController, active: ActiveConfig, counted: Mapping[tuple[int, int], Counts]
    ) -> None:
        self.active = active
        self.workers: dict[int, AttachedWorker] = {}
        self.counted = dict(counted)
        """What each worker has counted; of those that have ended, the sum, as worker -1."""
        self.counters: Counts = {}
        self.gauges: Counts = {}
        self.ready = trio.Event()
        """Set when workers may be told what to serve."""
        self.controller = controller
        self._numbers = count(1)
        self._last = 0
        self._news = trio.Event()
        self._joining: set[AttachedWorker] = set()
        """Workers that have not said yet which tunnels they have."""
        self._publisher = Publisher(controller)
        self._slots = Slots()
        self._add_up()

    async def attend(self, sock: socket.socket, number: int, pid: int) -> None:
        """Talk with a worker until it is gone."""
        link = Link(sock)
        worker = AttachedWorker(number, pid, link)
        self._joining.add(worker)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                nursery.start_soon(self._welcome, worker)
                async for message in link:
                    self._hear(worker, message)
                nursery.cancel_scope.cancel()
        finally:
            link.close()
            self._lose(worker)

    async def run(self) -> None:
        """Pass on what changes, and count now and then, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count)
            while True:
                await trio.sleep(TICK)
                self.publish()

    def end(self, session: object, why: str) -> None:
        """End a tunnel, wherever it is; its user's lease is the caller's to change before."""
        assert isinstance(session, RemoteTunnel)
        self.publish()  # so that every worker knows where the user belongs when they come back
        session.worker.link.post(End((session.number,), why))

    def reconfigure(self, active: ActiveConfig) -> None:
        """All workers get everything anew."""
        self.active = active
        self._publisher.adopt()
        setup = self._setup()
        for worker in self.workers.values():
            worker.link.post(setup)

    async def relevel(self, level: Level) -> None:
        """Have the workers, and those that come later, log from this level on."""
        self.active = replace(self.active, level=level)
        await self.ask("level", level)

    def publish(self) -> None:
        """Send what has changed since the last time."""
        if not self.ready.is_set():
            return
        for news in self._publisher.news(trio.current_time()):
            self._last = next(self._numbers)
            update = replace(news, number=self._last)
            for worker in self.workers.values():
                worker.link.post(update)

    async def settled(self, patience: float = PATIENCE) -> None:
        """Until all workers, those that are coming too, have put in force what was sent so far, or their time is up."""
        self.publish()
        number = self._last
        with trio.move_on_after(patience):
            while self._joining or any(worker.applied < number for worker in self.workers.values()):
                await self._news.wait()

    async def gathered(self) -> None:
        """Until all workers have said which tunnels they have, or their time is up: nobody is to be told of only some
        of the users who are not where the ring says.
        """
        with trio.move_on_after(PATIENCE):
            while self._joining:
                await self._news.wait()

    async def complete(self, workers: int, patience: float) -> None:
        """Until so many workers have everything in force, or the time is up."""
        with trio.move_on_after(patience):
            while sum(worker.generation > 0 for worker in self.workers.values()) < workers:
                await self._news.wait()

    async def ask(self, what: str, *args: Any) -> dict[int, Any]:  # noqa: ANN401  # whatever the method takes
        """What every worker says to a question, by worker; without those that do not answer in time."""
        number = next(self._numbers)
        asked = list(self.workers.values())
        for worker in asked:
            worker.answers[number] = None
            worker.link.post(Ask(number, what, args))
        with trio.move_on_after(PATIENCE):
            while any(worker.answers[number] is None and not worker.link.lost for worker in asked):
                await self._news.wait()
        answers = {worker.number: worker.answers.pop(number) for worker in asked}
        return {worker: answer.value for worker, answer in answers.items() if answer is not None}

    async def refresh(self) -> None:
        """Count: ask all workers and add it up."""
        for number, report in (await self.ask("report")).items():
            worker = self.workers.get(number)
            if worker is not None:
                worker.report = report
                self.counted[number, worker.pid] = report.counters
                self._judge(report)
        self._add_up()

    def facts(self) -> list[dict[str, Any]]:
        """The workers, for operators."""
        rings = {name: pool_state.ring.fingerprint for name, pool_state in self.controller.pool_states.items()}
        return [
            {
                "worker": worker.number,
                "pid": worker.pid,
                "generation": worker.generation,
                "agrees": worker.generation == self.active.generation and worker.fingerprints == rings,
                "fingerprints": dict(worker.fingerprints),
                "connections": worker.report.gauges["connections"] if worker.report else 0,
                "tunnels": len(worker.tunnels),
            }
            for _, worker in sorted(self.workers.items())
        ]

    async def _welcome(self, worker: AttachedWorker) -> None:
        await self.ready.wait()
        former = self.workers.get(worker.number)
        if former is not None:
            self._lose(former)
        self.publish()
        self.workers[worker.number] = worker
        worker.link.post(self._setup())

    async def _count(self) -> None:
        while True:
            for pool_state in self.controller.pool_states.values():
                pool_state.pool.leases.expire(trio.current_time())
            await self.refresh()
            await trio.sleep(COUNT_EVERY)

    def _hear(self, worker: AttachedWorker, message: object) -> None:
        match message:
            case Opened():
                tunnel = self._open(worker, message)
                self.publish()
                if tunnel is not None and tunnel.lease is not None and len(tunnel.lease.sessions) > 1:
                    for other in tunnel.pool_state.pool.left_behind(tunnel.lease, message.backend):
                        self.end(other, f"the user has moved to {message.backend}")
            case Ended():
                self._close(worker.tunnels.pop(message.session, None))
                self.publish()
            case Attached():
                for opened in message.tunnels:
                    self._open(worker, opened)
                self._joining.discard(worker)
                self._wake()
            case Applied():
                worker.applied = message.number
                worker.generation, worker.fingerprints = message.generation, message.fingerprints
                self._wake()
            case Answer():
                if message.number in worker.answers:
                    worker.answers[message.number] = message
                    self._wake()

    def _open(self, worker: AttachedWorker, opened: Opened) -> RemoteTunnel | None:
        pool_state = self.controller.pool_states.get(opened.pool)
        if pool_state is None:  # one of a pool that is gone: it is looked after by its worker alone
            return None
        tunnel = worker.tunnels[opened.session] = RemoteTunnel(worker, opened.session, pool_state)
        tunnel.lease = pool_state.pool.leases.open(opened.token, tunnel, opened.backend)
        return tunnel

    def _close(self, tunnel: RemoteTunnel | None) -> None:
        if tunnel is not None:
            tunnel.pool_state.pool.leases.close(tunnel.lease, tunnel, trio.current_time())

    def _lose(self, worker: AttachedWorker) -> None:
        """A worker has ended: so have its tunnels."""
        worker.link.close()
        self._joining.discard(worker)
        if self.workers.get(worker.number) is worker:
            del self.workers[worker.number]
        while worker.tunnels:
            self._close(worker.tunnels.popitem()[1])
        worker.report = None
        self._wake()

    def _setup(self) -> Setup:
        self._last = next(self._numbers)
        active = self.active
        return Setup(
            number=self._last,
            generation=active.generation,
            config=active.config,
            keys=active.keys,
            sockets=active.sockets,
            slots=self._slots.assign("", active.keys),
            certificates=active.certificates,
            secret=self.controller.secret,
            level=active.level,
            pools=self._publisher.states(),
        )

    def _add_up(self) -> None:
        """Over all workers, those that have ended included."""
        present = {(worker.number, worker.pid) for worker in self.workers.values()}
        for key in [key for key in self.counted if key not in present and key[0] in self.workers]:
            self.counted[-1, 0] = added(self.counted.get((-1, 0), {}), self.counted.pop(key))
        self.counters, self.gauges = {}, {}
        for counters in self.counted.values():
            self.counters = added(self.counters, counters)
        for gauges in self._gauges():
            self.gauges = added(self.gauges, gauges)
        counted, present_pools = self.counters.get("pools", {}), self.gauges.get("pools", {})
        for name, pool_state in self.controller.pool_states.items():
            lay_down(pool_state.pool, counted.get(name, {}), present_pools.get(name, {}))

    def _judge(self, report: WorkerReport) -> None:
        """Keep what traffic says of backends for whoever judges them."""
        for name, tallies in report.tallies.items():
            pool_state = self.controller.pool_states.get(name)
            backends = pool_state.pool.backends if pool_state is not None else {}
            for backend in tallies.keys() & backends.keys():
                backends[backend].tally.add(tallies[backend])

    def _gauges(self) -> Iterator[Counts]:
        for worker in self.workers.values():
            if worker.report is not None:
                yield worker.report.gauges

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
