"""The attached workers: what they are sent, what they report, and all their tunnels.

A worker gets everything when it attaches, and changes after that. Changes have numbers, and a worker says which it has
activated, so a change can be waited for. What a worker rejects it gets again, as a whole, until it takes it. News takes
milliseconds, in which two workers may send two first tabs of one user to two hosts; control sees both, and has the
older tab come back to where the newer one is.
"""

import logging
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec
import trio

from balancer.config.key_file import derive_keys
from balancer.config.scalars import Level
from balancer.config.settings import KeySettings
from balancer.control.active_config import ActiveConfig
from balancer.control.attached_worker import AttachedWorker, RemoteTunnel
from balancer.control.pool_state import PoolState
from balancer.control.publisher import Publisher
from balancer.ipc.link import Link
from balancer.ipc.messages import (
    TO_CONTROL,
    Applied,
    Attached,
    End,
    Ended,
    NotUnderstood,
    Opened,
    Rejected,
    ReportRequest,
    Retire,
    SessionTraffic,
    SetLevel,
    Setup,
    Tested,
    TestYourself,
    TrafficRequest,
    WorkerReport,
)
from balancer.ipc.wire import Message, Unreadable, encode
from balancer.pool.counts import Counts, added
from balancer.pool.leases import Lease
from balancer.shared.slots import Slots

logger = logging.getLogger("balancer.workers")

TICK = 0.05
"""Seconds within which a change of health reaches the workers."""
COUNT_INTERVAL = 0.5
"""Seconds between two collections of reports, unless one is asked for."""
ANSWER_TIMEOUT = 1.0
"""Seconds to wait for a worker to activate a change or to answer, before going on without it."""


class WorkerRegistry:
    """The workers that are attached, and what they are to do: ``pools`` with the configuration ``active``.

    ``secret`` is the key of digests. ``counted`` is what workers had counted that a former control process knew, by
    number and process.
    """

    def __init__(
        self,
        pools: Mapping[str, PoolState],
        active: ActiveConfig,
        secret: bytes,
        counted: Mapping[tuple[int, int], Counts],
    ) -> None:
        self.active = active
        self.workers: dict[int, AttachedWorker] = {}
        self.counted = dict(counted)
        """What each worker has counted; the sum of those that have ended, as worker -1."""
        self.counters: Counts = {}
        self.gauges: Counts = {}
        self.ready = trio.Event()
        """Set when workers may start to serve."""
        self.version_generation = 0
        """That of the present version of the daemon."""
        self.trial = False
        """The workers of the present version are on trial: they must not accept, and those before them do."""
        self._retiring = False
        """Workers of earlier versions accept no more."""
        self._pools = pools
        self._secret = secret
        self._numbers = count(1)
        self._news = trio.Event()
        self._joining: set[AttachedWorker] = set()
        """Workers that have not reported their tunnels yet."""
        self._publisher = Publisher(pools)
        self._slots = Slots()
        self._add_up()

    @property
    def keys(self) -> KeySettings:
        """The keys of the active secrets."""
        return derive_keys(self.active.files.secrets or (self._secret,), self._secret)

    async def attend(self, sock: socket.socket, number: int, pid: int, version_generation: int) -> None:
        """Serve a worker's link until it ends."""
        link = Link(sock, TO_CONTROL)
        worker = AttachedWorker(number, pid, link, version_generation)
        self._joining.add(worker)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                nursery.start_soon(self._welcome, worker)
                async for message in link:
                    try:
                        self._handle(worker, message)
                    except Exception:  # a message of one worker must not harm the others
                        logger.exception("worker %d sent a message that cannot be processed", worker.number)
                nursery.cancel_scope.cancel()
        finally:
            link.close()
            self._lose(worker)

    async def run(self) -> None:
        """Publish changes and collect reports, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count)
            while True:
                await trio.sleep(TICK)
                self.publish()
                self._retry()

    def end(self, session: object, why: str) -> None:
        """End a tunnel; the caller changes the user's lease first."""
        assert isinstance(session, RemoteTunnel)
        self.publish()  # every worker has to know where the user belongs when they come back
        session.worker.link.post(End((session.opened.session,), why))

    def reconfigure(self, active: ActiveConfig) -> None:
        """Send everything to all workers."""
        self.active = active
        self._set_up(*(worker for worker in self.workers.values() if not worker.retired))

    async def relevel(self, level: Level) -> None:
        """Set the log level of all workers, also of those that attach later."""
        self.active = replace(self.active, level=level)
        self._send(SetLevel(level))

    def publish(self) -> None:
        """Send what has changed since the last time."""
        if not self.ready.is_set():
            return
        for news in self._publisher.changes(trio.current_time()):
            number = next(self._numbers)
            self._send(msgspec.structs.replace(news, number=number))
            for worker in self.workers.values():
                worker.sent = number

    async def settled(self, seconds: float = ANSWER_TIMEOUT) -> None:
        """Wait until all workers, also those that are joining, have activated what was sent, or their time is up."""
        self.publish()
        latest = max((worker.sent for worker in self.workers.values()), default=0)
        with trio.move_on_after(seconds):
            while self._joining or any(
                worker.applied < min(worker.sent, latest) for worker in self.workers.values() if not worker.retired
            ):
                await self._news.wait()

    async def gathered(self) -> None:
        """Wait until all workers have reported their tunnels, or their time is up.

        No worker should learn of only some of the users who are not where the ring says. Tabs of a user that opened on
        two hosts while there was no control come together now.
        """
        with trio.move_on_after(ANSWER_TIMEOUT):
            while self._joining:
                await self._news.wait()
        for pool in self._pools.values():
            for lease in pool.leases.live():
                tunnels = [each for each in lease.sessions if isinstance(each, RemoteTunnel)]
                newest = max(tunnels, key=lambda each: each.opened.since)
                self._call_together(pool, lease, newest.opened.backend)

    async def complete(self, workers: int, seconds: float) -> None:
        """Wait until this many workers of the present version serve, or the time is up."""
        with trio.move_on_after(seconds):
            while not self.has_set_up(workers):
                await self.heard()

    def has_set_up(self, workers: int) -> bool:
        """Return whether so many workers of the present version have a configuration."""
        return sum(worker.generation > 0 for worker in self._present()) >= workers

    async def heard(self) -> None:
        """Wait until a worker says something, or another one attaches or is lost."""
        await self._news.wait()

    def rejection(self) -> str:
        """Return why a worker of the present version rejects its configuration, or an empty string."""
        for worker in self._present():
            if worker.rejection:
                return f"worker {worker.number} rejects its configuration: {worker.rejection}"
        return ""

    async def tested(self, seconds: float) -> str:
        """Have the workers of the present version serve requests of their own; return what went wrong, or nothing."""
        present = self._present()
        answers = await self._ask(TestYourself(next(self._numbers)), present, seconds)
        for worker in present:
            answer = answers.get(worker)
            problem = answer.problem if isinstance(answer, Tested) else f"no answer within {seconds:g} s"
            if problem:
                return f"worker {worker.number} has tested itself: {problem}"
        return ""

    async def retire(self) -> None:
        """Once all workers of the present version accept, have those of earlier ones accept no more."""
        while any(worker.pending or worker.rejection for worker in self._present()):
            await self._news.wait()
        self._retiring = True
        for worker in self.previous():
            self._retire(worker, Retire(self.active.config.upgrade.keep))

    def finish(self, over: float) -> None:
        """Have the workers of earlier versions end what is left, over so many seconds."""
        for worker in self.previous():
            self._retire(worker, Retire(0.0, over))

    def previous(self) -> list[AttachedWorker]:
        """Return the workers of earlier versions."""
        return [worker for worker in self.workers.values() if worker.version_generation < self.version_generation]

    async def refresh(self) -> None:
        """Collect reports from all workers and add them up."""
        for worker, report in (await self._ask(ReportRequest(next(self._numbers)), self.workers.values())).items():
            if isinstance(report, WorkerReport) and self.workers.get(worker.number) is worker:
                worker.report = report
                self.counted[worker.number, worker.pid] = report.counters
                self._note_tallies(report)
        self._add_up()

    async def sessions(self) -> list[tuple[RemoteTunnel, tuple[int, int]]]:
        """Return all open tunnels, with the bytes that their backends were sent and have sent."""
        tunnels = [tunnel for worker in self.workers.values() for tunnel in worker.tunnels.values()]
        wanted = tuple({each.opened.session for each in tunnels})
        answers = await self._ask(TrafficRequest(next(self._numbers), wanted), self.workers.values())
        traffic = {worker: answer.sessions for worker, answer in answers.items() if isinstance(answer, SessionTraffic)}
        return [
            (each, traffic[each.worker][each.opened.session])
            for each in tunnels
            if each.opened.session in traffic.get(each.worker, {})
        ]

    def tunnels(self) -> Iterator[RemoteTunnel]:
        """Yield all open tunnels."""
        return (tunnel for worker in self.workers.values() for tunnel in worker.tunnels.values())

    def removed_pools(self) -> dict[str, int]:
        """Return the pools that are not configured any more and have tunnels left, with the number of these."""
        opened = Counter(each.opened.pool for each in self.tunnels())
        return {name: number for name, number in opened.items() if name not in self._pools}

    async def _ask(
        self,
        request: ReportRequest | TrafficRequest | TestYourself,
        workers: Iterable[AttachedWorker],
        seconds: float = ANSWER_TIMEOUT,
    ) -> dict[AttachedWorker, Message]:
        """Return the answers of the workers that answer in time."""
        asked, frame = list(workers), encode(request)
        for worker in asked:
            worker.answers[request.number] = None
            worker.link.post_frame(frame)
        with trio.move_on_after(seconds):
            while any(worker.answers[request.number] is None and not worker.link.lost for worker in asked):
                await self._news.wait()
        answers = {worker: worker.answers.pop(request.number) for worker in asked}
        return {worker: answer for worker, answer in answers.items() if answer is not None}

    def facts(self) -> list[dict[str, Any]]:
        """Describe the workers for operators, without those of earlier versions that accept no more."""
        rings = {name: pool.ring.fingerprint for name, pool in self._pools.items()}
        return [
            {
                "worker": worker.number,
                "pid": worker.pid,
                "generation": worker.generation,
                "agrees": not worker.rejection
                and worker.generation == self.active.generation
                and worker.fingerprints == rings,
                "fingerprints": dict(worker.fingerprints),
                "connections": worker.report.gauges["connections"] if worker.report else 0,
                "tunnels": len(worker.tunnels),
            }
            for _, worker in sorted(self.workers.items())
            if not worker.retired
        ]

    async def _welcome(self, worker: AttachedWorker) -> None:
        await self.ready.wait()
        former = self.workers.get(worker.number)
        if former is not None:
            self._lose(former)
        self.publish()
        self.workers[worker.number] = worker
        if self._retiring and worker.version_generation < self.version_generation:
            self._retire(worker, Retire(self.active.config.upgrade.keep))
        else:
            self._set_up(worker)

    def _present(self) -> list[AttachedWorker]:
        """Return the workers of the present version."""
        return [worker for worker in self.workers.values() if worker.version_generation >= self.version_generation]

    def _retire(self, worker: AttachedWorker, message: Retire) -> None:
        worker.retired = True
        worker.link.post(message)

    def _set_up(self, *workers: AttachedWorker) -> None:
        """Send workers everything."""
        setup = self._setup()
        frame = encode(setup)
        waiting = encode(msgspec.structs.replace(setup, accepts=False)) if self.trial else frame
        for worker in workers:
            worker.sent = setup.number
            worker.link.post_frame(frame if worker.version_generation < self.version_generation else waiting)

    def _send(self, message: Message) -> None:
        """Send a message to all workers, encoded once."""
        frame = encode(message)
        for worker in self.workers.values():
            worker.link.post_frame(frame)

    def _retry(self) -> None:
        """Send everything again to workers that rejected a change."""
        now = trio.current_time()
        for worker in self.workers.values():
            if worker.rejection and now >= worker.retry_at:
                worker.retry_at = float("inf")
                self._set_up(worker)

    async def _count(self) -> None:
        while True:
            for pool in self._pools.values():
                pool.leases.expire(trio.current_time())
            await self.refresh()
            await trio.sleep(COUNT_INTERVAL)

    def _handle(self, worker: AttachedWorker, message: Message | Unreadable) -> None:
        match message:
            case Opened():
                tunnel = self._open(worker, message)
                self.publish()
                if tunnel.pool_state is not None and tunnel.lease is not None and len(tunnel.lease.sessions) > 1:
                    self._call_together(tunnel.pool_state, tunnel.lease, message.backend)
            case Ended():
                self._close(worker.tunnels.pop(message.session, None))
                self.publish()
            case Attached():
                worker.about = message
                for opened in message.tunnels:
                    self._open(worker, opened)
                self._joining.discard(worker)
                self._wake()
            case Applied():
                worker.accepted(message.number, message.generation, message.fingerprints)
                self._wake()
            case Rejected() | NotUnderstood() if worker.retired:
                pass  # it places nobody any more but clients whose connections it has
            case Rejected():
                logger.error("worker %d rejects a change, it is sent again: %s", worker.number, message.reason)
                worker.rejected(message.number, message.reason, trio.current_time())
                self._wake()
            case WorkerReport() | SessionTraffic() | Tested():
                if message.number in worker.answers:
                    worker.answers[message.number] = message
                    self._wake()
            case NotUnderstood():
                logger.error("worker %d did not understand a message: %s", worker.number, message.reason)
            case Unreadable():
                logger.error("a message of worker %d is ignored: %s", worker.number, message.reason)
                worker.link.post(NotUnderstood(message.type, message.version, message.reason))

    def _open(self, worker: AttachedWorker, opened: Opened) -> RemoteTunnel:
        pool = self._pools.get(opened.pool)
        since = trio.current_time() - max(0.0, time.time() - opened.since)
        tunnel = worker.tunnels[opened.session] = RemoteTunnel(worker, opened, pool, since=since)
        if pool is not None:
            tunnel.lease = pool.leases.open(opened.token, tunnel, opened.backend)
        return tunnel

    def _call_together(self, pool: PoolState, lease: Lease, backend: str) -> None:
        """Have the older tabs of a user follow the newest one to its backend."""
        for other in pool.left_behind(lease, backend):
            self.end(other, f"the user has moved to {backend}")

    def _close(self, tunnel: RemoteTunnel | None) -> None:
        if tunnel is not None and tunnel.pool_state is not None:
            tunnel.pool_state.leases.close(tunnel.lease, tunnel, trio.current_time())

    def _lose(self, worker: AttachedWorker) -> None:
        """Forget a worker that has ended, and its tunnels."""
        worker.link.close()
        self._joining.discard(worker)
        if self.workers.get(worker.number) is worker:
            del self.workers[worker.number]
        while worker.tunnels:
            self._close(worker.tunnels.popitem()[1])
        worker.report = None
        self._wake()

    def _setup(self) -> Setup:
        active = self.active
        return Setup(
            number=next(self._numbers),
            generation=active.generation,
            settings=active.settings(self._slots.assign("", active.keys)),
            sockets=active.sockets,
            secret=self._secret,
            level=active.level,
            pools=self._publisher.states(),
            keys=self.keys,
        )

    def _add_up(self) -> None:
        """Sum over all workers, also those that have ended."""
        present = {(worker.number, worker.pid) for worker in self.workers.values()}
        for key in [key for key in self.counted if key not in present and key[0] in self.workers]:
            self.counted[-1, 0] = added(self.counted.get((-1, 0), {}), self.counted.pop(key))
        self.counters, self.gauges = {}, {}
        for counters in self.counted.values():
            self.counters = added(self.counters, counters)
        for gauges in self._gauges():
            self.gauges = added(self.gauges, gauges)
        counted, present_pools = self.counters.get("pools", {}), self.gauges.get("pools", {})
        of_all = self.ready.is_set() and all(worker.report for worker in self.workers.values())
        for name, pool in self._pools.items():
            pool.count(counted.get(name, {}), present_pools.get(name, {}), time.time(), of_all=of_all)

    def _note_tallies(self, report: WorkerReport) -> None:
        """Keep what traffic says of backends for the outlier monitor."""
        for name, tallies in report.tallies.items():
            pool_state = self._pools.get(name)
            backends = pool_state.backends if pool_state is not None else {}
            for backend in tallies.keys() & backends.keys():
                backends[backend].tally.add(tallies[backend])

    def _gauges(self) -> Iterator[Counts]:
        for worker in self.workers.values():
            if worker.report is not None:
                yield worker.report.gauges

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
