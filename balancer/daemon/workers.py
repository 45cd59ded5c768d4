"""The worker processes: their number, their sockets, and how surplus ones leave.

Those that earlier versions have started are kept until their last connection has ended, but not replaced: see
``daemon.trial``.

Some facts. A socket of a SO_REUSEPORT group that is closed resets the clients that wait at it and forgets handshakes
that are half done (net.ipv4.tcp_migrate_req would move them, but is off by default, and for root). So with fewer
workers the surplus ones are not told to drain at once. First the kernel deals them no more new clients (see
``Sockets.commit``); they go on accepting the clients that wait, until their queues have been empty for ``SETTLED``
seconds, in which handshakes under way get done. Then they drain like all workers, and their sockets are closed. If more
workers are wanted meanwhile, they simply stay.
"""

import logging
import socket
import time

import trio
from msgspec.structs import replace

from balancer.config.scalars import MAX_WORKERS
from balancer.daemon.boards import Boards
from balancer.daemon.child import ChildOwner, ChildProcess
from balancer.daemon.sockets import Sockets
from balancer.ipc.channel import MOST_FDS
from balancer.ipc.supervision import Drain, Draining, LinkEnd, ListeningFds, Processes, Relink, Resend
from balancer.ipc.wire import Message
from balancer.shared.version import VERSION
from balancer.upgrade.release import Release
from balancer.upgrade.state import ChildState, Generation, Handover, WorkerEntry

logger = logging.getLogger("balancer.supervisor")

SETTLED = 3.0
"""Seconds for which no client may have waited at a surplus socket before it is closed: a SYN-ACK that was lost is sent
again after 1 s, and after 2 s more (RFC 6298)."""
LOOK_EVERY = 0.1
"""Seconds between two looks at the queues of surplus sockets."""
TRY_AGAIN = 1.0
"""Seconds before descriptors that could not be sent are sent again."""


class Workers(ChildOwner):
    """Keeps worker processes of ``release``, which is the version of ``generation``; ``boards`` have their counters."""

    def __init__(
        self, control: ChildProcess, sockets: Sockets, boards: Boards, release: Release, generation: int
    ) -> None:
        self.drained = trio.Event()
        """Set when all workers have stopped accepting."""
        self.generations = {generation: Generation(VERSION, time.time())}
        """The versions that have workers, the present one included."""
        self._generation = generation
        self._control = control
        self._sockets = sockets
        self._version = 0
        """Counts the commits of sockets."""
        self._boards = boards
        self._release = release
        self._wanted = 1
        self._accepting: list[ChildProcess] = []
        """In the order of their sockets; those beyond the ``wanted`` ones leave as soon as no client waits there."""
        self._entries: dict[ChildProcess, WorkerEntry] = {}
        """Every worker, until the last process of it has ended."""
        self._draining: set[ChildProcess] = set()
        self._sent: dict[ChildProcess, set[str]] = {}
        """Keys of the sockets that the running process of each worker has been sent."""
        self._former: dict[int, ChildState] = {}
        """Workers of the version before, by their place, which those of this one will take."""
        self._leaving = trio.CancelScope()
        self._ended = trio.Event()
        """Set, and replaced, when a worker has ended for good."""

    def adopt(self, state: Handover) -> None:
        """Keep the workers of the version before; those of our own generation go on accepting."""
        self.generations = {**state.generations, **self.generations}
        self._version = state.sockets.version
        running = [entry for entry in state.workers if entry.child.pid is not None]
        for entry in running:
            self._boards.keep(entry.number)
        for entry in sorted(state.workers, key=lambda each: each.place or 0):  # places have no gaps
            accepts = entry.generation == self._generation and entry.place is not None
            if entry.place is not None and not accepts:
                self._former[entry.place] = entry.child
            if entry not in running and not accepts:
                continue
            worker = self._worker(entry.number if entry in running else self._boards.claim(1)[0], entry.generation)
            worker.adopt(entry.child)
            worker.hang = state.hang
            worker.wanted = accepts
            if accepts:
                self._accepting.append(worker)
                self._sent[worker] = set(state.sockets.open)
            if entry.draining:
                self._draining.add(worker)
        self._wanted = max(1, len(self._accepting))

    @property
    def version(self) -> int:
        """The version of the sockets that workers have been given last."""
        return self._version

    @property
    def all(self) -> list[ChildProcess]:
        """All workers, those that drain and those of earlier versions included."""
        return list(self._entries)

    @property
    def settled(self) -> bool:
        """Whether their number is what it is meant to be, and their sockets too."""
        return len(self._accepting) == self._wanted and not self._sockets.has_surplus and not self._sockets.preparing

    @property
    def alive(self) -> bool:
        """Whether any worker works: one that keeps crashing is no reason to restart the daemon."""
        wanted = [worker for worker in self._accepting if worker.wanted]
        return not wanted or any(worker.alive() for worker in wanted)

    def open(self, nursery: trio.Nursery) -> None:
        """Keep all workers in ``nursery``; without any, start the first before it is known how many there will be."""
        self._nursery = nursery
        for worker in self._entries:
            nursery.start_soon(self._keep, worker)
        if not self._entries:
            self._add(1)

    def have_room_for(self, wanted: int) -> bool:
        """Return whether there may be so many workers, beside those of this version that drain."""
        mine = sum(entry.generation == self._generation for entry in self._entries.values())
        return wanted + mine - len(self._accepting) <= MAX_WORKERS

    def states(self) -> list[WorkerEntry]:
        """Return what the next version has to know."""
        places = {worker: place for place, worker in enumerate(self._accepting)}
        return [
            replace(entry, child=worker.state(), place=places.get(worker), draining=worker in self._draining)
            for worker, entry in self._entries.items()
        ]

    def present(self) -> list[ChildProcess]:
        """Return the workers of the present version."""
        return [worker for worker, entry in self._entries.items() if entry.generation == self._generation]

    async def commit(self, wanted: int, hang: float) -> None:
        """Run this many workers, with the sockets that were prepared."""
        self._leaving.cancel()
        self._sockets.commit(wanted)
        self._version += 1
        self._wanted = wanted
        for worker in self._accepting:
            worker.hang = hang
            await self._hand_sockets(worker)
        if len(self._accepting) < wanted:
            self._add(wanted - len(self._accepting))
        if len(self._accepting) > wanted or self._sockets.has_surplus:
            self._leaving = trio.CancelScope()
            self._nursery.start_soon(self._see_off, self._leaving)
        await self.tell_control()

    async def drain(self) -> None:
        """Have all workers stop accepting, and end when their last connection has."""
        self._leaving.cancel()
        for worker in self._entries:
            worker.wanted = False
        await self.tell(Drain())

    async def ended(self) -> None:
        """Wait until all workers have ended."""
        while any(worker.pid is not None for worker in self._entries):
            await self._ended.wait()

    async def tell(self, message: Message) -> None:
        """Send all workers a message."""
        for worker in self.all:
            await worker.tell(message)

    async def link_all(self) -> None:
        """Link a new control process with all workers."""
        for worker in self.all:
            if worker.pid is not None:
                await self._link_soon(worker)

    async def tell_control(self) -> None:
        """Tell control which processes there are."""
        places = {worker: place for place, worker in enumerate(self._accepting)}
        workers = [
            worker.facts(entry.generation, self.generations[entry.generation].version, places.get(worker))
            for worker, entry in self._entries.items()
        ]
        await self._control.tell(Processes((self._control.facts(), *workers), self._generation))

    async def child_started(self, child: ChildProcess) -> None:
        await self._link_soon(child)  # first: a reload waits for the workers that control knows
        self._sent.pop(child, None)
        await self._hand_sockets(child)
        if not child.wanted:
            await child.tell(Drain())  # the message came too early for it
        if child.starts > 1:
            logger.info("%s restarted (pid %s)", child.name, child.pid)
        await self.tell_control()

    async def child_ended(self, child: ChildProcess) -> None:
        self._boards.clear(self._entries[child].number)
        await self.tell_control()

    async def child_said(self, child: ChildProcess, message: Message, fds: list[int]) -> None:
        match message:
            case Relink():  # it lost its link to control
                await self._link_soon(child)
            case Resend():  # it had no descriptors left for its sockets
                self._sent.pop(child, None)
                await self._hand_sockets(child)
            case Draining():
                self._draining.add(child)
                if all(each in self._draining or each.pid is None for each in self._entries):
                    self.drained.set()

    def _add(self, count: int) -> None:
        """Start so many more workers."""
        for number in self._boards.claim(count):
            worker = self._worker(number, self._generation)
            worker.hang = self._control.hang
            if (former := self._former.pop(len(self._accepting), None)) is not None:
                worker.succeed(former)
            self._accepting.append(worker)
            self._nursery.start_soon(self._keep, worker)

    def _worker(self, number: int, generation: int) -> ChildProcess:
        board, row = self._boards.place(number)
        arguments = [str(board), str(row)]
        worker = ChildProcess(f"worker {number}", self._release, "balancer.daemon.worker", arguments, [board], self)
        self._entries[worker] = WorkerEntry(worker.state(), number, generation)
        return worker

    async def _keep(self, worker: ChildProcess) -> None:
        await worker.keep()
        if worker not in self._accepting:
            self._boards.release(self._entries.pop(worker).number)
            left = {self._generation, *(each.generation for each in self._entries.values())}
            self.generations = {number: each for number, each in self.generations.items() if number in left}
            await self.tell_control()
        self._ended.set()
        self._ended = trio.Event()

    async def _see_off(self, scope: trio.CancelScope) -> None:
        """Let the surplus workers serve the clients that wait at their sockets, then have them drain.

        The sockets are closed here last: one that a worker still held would get new clients as soon as the kernel
        chooses among all again.
        """
        with scope:
            quiet_since = trio.current_time()
            while trio.current_time() < quiet_since + SETTLED or self._sockets.preparing:
                await trio.sleep(LOOK_EVERY)
                if self._sockets.surplus_queued():
                    quiet_since = trio.current_time()
            surplus = self._accepting[self._wanted :]
            del self._accepting[self._wanted :]
            with trio.CancelScope(shield=True):  # all of them are told, or none
                for worker in surplus:
                    worker.wanted = False
                    await worker.tell(Drain())
                await self.tell_control()
            while self._sockets.preparing or any(not self._has_drained(each) for each in self._entries):  # noqa: ASYNC110
                await trio.sleep(LOOK_EVERY)
            self._sockets.close_surplus()

    def _has_drained(self, worker: ChildProcess) -> bool:
        """Return whether a worker has its listening sockets for good, or not any more."""
        return worker in self._accepting or worker in self._draining or worker.pid is None

    async def _hand_sockets(self, worker: ChildProcess) -> None:
        """Send an accepting worker the sockets it lacks, and the keys of all it should have."""
        if worker not in self._accepting:
            return
        given = self._sockets.of(self._accepting.index(worker))
        sent = self._sent.setdefault(worker, set())
        sent.intersection_update(given)
        new = [(key, fd) for key, fds in given.items() if key not in sent for fd in fds]
        for i in range(0, len(new) or 1, MOST_FDS):
            keys, fds = zip(*new[i : i + MOST_FDS], strict=True) if new else ((), ())
            if not await worker.tell(ListeningFds(self._version, tuple(given), keys), fds):
                if worker.channel is not None:
                    self._nursery.start_soon(self._hand_sockets_again, worker)
                return
        sent.update(given)

    async def _hand_sockets_again(self, worker: ChildProcess) -> None:
        channel = worker.channel
        await trio.sleep(TRY_AGAIN)
        if worker.channel is channel:
            await self._hand_sockets(worker)

    async def _link_soon(self, worker: ChildProcess) -> None:
        """Link a worker with control; if that fails, try again later."""
        if not await self._link(worker):
            self._nursery.start_soon(self._link_again, worker)

    async def _link_again(self, worker: ChildProcess) -> None:
        ends = self._control.channel, worker.channel
        while True:
            await trio.sleep(TRY_AGAIN)
            if (self._control.channel, worker.channel) != ends or await self._link(worker):
                return

    async def _link(self, worker: ChildProcess) -> bool:
        """Link control and a worker; return false if there was no descriptor for it."""
        if self._control.channel is None or worker.channel is None:
            return True  # whichever starts later calls this again
        try:
            one, other = socket.socketpair()
        except OSError as error:
            logger.error("control and %s cannot be linked: %s; trying again", worker.name, error.strerror)
            return False
        with one, other:
            entry = self._entries[worker]
            end = LinkEnd(entry.number, worker.pid or 0, entry.generation)
            return await self._control.tell(end, [one.fileno()]) and await worker.tell(LinkEnd(), [other.fileno()])
