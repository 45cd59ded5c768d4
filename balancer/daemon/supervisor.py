"""The supervisor: holds the listening sockets, and keeps one control process and the workers running. Nothing else.

It never reads the configuration: control does, and says which sockets and how many workers there are to be (``want``,
then ``commit`` or ``abort``). Whenever control or a worker has been started, both get an end of a new socket pair, so
that they talk past it. What must outlive control, and is no file, is in two anonymous files (memfd_create(2)) that are
open here; ``shared_counters`` has the numbers that workers share, the others are control's own.

The end: workers are told to drain and end by themselves, then control is. A second signal makes that quick. A child
that finds its channel closed, because we are gone, drains likewise.
"""

import logging
import mmap
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from balancer.config.scalars import MAX_WORKERS, Address
from balancer.daemon.child import Child
from balancer.daemon.logs import start_logs
from balancer.daemon.sockets import Sockets
from balancer.daemon.systemd import Manager, Phase
from balancer.errors import InUse, Refused
from balancer.ipc.channel import MOST_FDS, Message
from balancer.shared.counters import KEY_BYTES, clear, prepare, size

logger = logging.getLogger("balancer.supervisor")

PATIENCE = 1.0
"""Seconds for children to say that they drain, before that is said without them."""
GOODBYE = 5.0
"""Seconds a child may take to end once it is told to end at once."""


class Supervisor:
    """``config`` is the file control reads; ``handed`` are sockets of the service manager."""

    def __init__(self, config: Path, handed: list[socket.socket], manager: Manager) -> None:
        self._manager = manager
        self._sockets = Sockets(handed)
        self._version = 0
        """How often there were other sockets, or might have been."""
        self._phase: Phase = "starting"
        self._status = "connections: 0, tunnels: 0"
        self._counted = trio.Event()
        """Set when ``_status`` is of after the drain has begun."""
        self._shared_counters = os.memfd_create("balancer-board")
        os.ftruncate(self._shared_counters, size(MAX_WORKERS))
        self._shared = memoryview(mmap.mmap(self._shared_counters, size(MAX_WORKERS)))
        prepare(self._shared, os.urandom(KEY_BYTES))
        files = [os.memfd_create("balancer-memory"), os.memfd_create("balancer-counted")]
        numbers = [str(fd) for fd in files]
        self._control = Child(
            "control", "balancer.daemon.control", lambda: ([*numbers, str(config)], files), self._hear_control
        )
        self._control.wanted = False  # a start that fails is not tried again
        self._files = [*files, self._shared_counters]
        self._workers: list[Child] = []
        self._rows: dict[Child, int] = {}
        """The row of each on the board, which is its number; those that are to end keep theirs until they have."""
        self._draining: set[Child] = set()
        self._reload_owed = False
        """Somebody has asked for a reload while control was not there."""
        self._drained = trio.Event()
        """Set when the last worker has stopped accepting."""
        self._idle = trio.Event()
        """Set when the last worker has ended."""

    async def run(self, signals: AsyncIterator[int]) -> int:
        """Run until a signal has ended it, or control says the start has failed; the exit status."""
        status = 0
        ended = trio.Event()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._keep_worker, self._worker())

            async def keep_control() -> None:
                nonlocal status
                status = await self._control.keep(self._started_control, self._ended)
                ended.set()
                if self._phase == "starting":  # it has said why
                    status = status if status > 0 else 1
                    nursery.cancel_scope.cancel()

            nursery.start_soon(keep_control)
            nursery.start_soon(self._beat)
            await self._obey(signals)
            await self._control.tell("stop")
            with trio.move_on_after(GOODBYE):
                await ended.wait()
            status = 0
            nursery.cancel_scope.cancel()
        self._sockets.close()
        for fd in self._files:
            os.close(fd)
        return status

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        """Reload as often as somebody asks for it; return when everything but control has ended."""
        async for number in signals:
            if number == signal.SIGHUP:
                if self._control.channel is None:
                    self._reload_owed = True
                await self._control.tell("reload")
                continue
            break
        self._phase = "draining"
        for child in (self._control, *self._rows):
            child.wanted = False
        await self._control.tell("drain")
        await self._tell_workers("drain")
        with trio.move_on_after(PATIENCE):
            await self._counted.wait()
            await self._drained.wait()
        self._sockets.close()  # who comes now is refused, rather than left waiting
        logger.info(
            "%s: no new connections; open ones may finish, a second signal ends them", signal.Signals(number).name
        )
        self._notify()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hurry, signals)
            if any(worker.pid is not None for worker in self._rows):
                await self._idle.wait()
            nursery.cancel_scope.cancel()

    async def _hurry(self, signals: AsyncIterator[int]) -> None:
        """A second signal ends what is open at once."""
        async for number in signals:
            if number != signal.SIGHUP:
                break
        logger.info("second signal: closing what is still open")
        await self._tell_workers("end")
        await trio.sleep(GOODBYE)
        for worker in self._rows:
            worker.kill()

    async def _tell_workers(self, kind: str) -> None:
        for worker in list(self._rows):
            await worker.tell(kind)

    def _worker(self) -> Child:
        row = next(row for row in range(MAX_WORKERS) if row not in self._rows.values())
        child = Child(
            f"worker {row}",
            "balancer.daemon.worker",
            lambda: ([str(self._shared_counters), str(row)], [self._shared_counters]),
            self._hear_worker,
        )
        child.hang = self._control.hang
        self._workers.append(child)
        self._rows[child] = row
        return child

    async def _keep_worker(self, worker: Child) -> None:
        try:
            await worker.keep(self._started_worker, self._ended)
        finally:
            if worker not in self._workers:
                del self._rows[worker]
            if not any(each.pid is not None for each in self._rows):
                self._idle.set()

    async def _started_control(self, control: Child) -> None:
        for worker in list(self._rows):
            if worker.pid is not None:
                await self._introduce(worker)
        if self._phase != "starting":
            logger.info("control has been started again (pid %s)", control.pid)
        if self._reload_owed:
            self._reload_owed = False
            await control.tell("reload")
        await self._tell_processes()

    async def _started_worker(self, worker: Child) -> None:
        await self._introduce(worker)  # first: a reload waits for who is known to control
        if worker in self._workers:
            await self._hand_sockets(worker)
        if not worker.wanted:
            await worker.tell("drain")  # it was told before it could hear
        if worker.starts > 1:
            logger.info("%s has been started again (pid %s)", worker.name, worker.pid)
        await self._tell_processes()

    async def _ended(self, child: Child) -> None:
        if child in self._rows:
            clear(self._shared, self._rows[child])
        await self._tell_processes()

    async def _introduce(self, worker: Child) -> None:
        """Give control and a worker the ends of a new link."""
        if self._control.channel is None or worker.channel is None:
            return  # whoever of them starts later brings it about
        one, other = socket.socketpair()
        with one, other:
            await self._control.tell("link", [one.fileno()], worker=self._rows[worker], pid=worker.pid)
            await worker.tell("link", [other.fileno()])

    async def _hand_sockets(self, worker: Child) -> None:
        """Give a worker its sockets; those it has already it does not take twice, others there are no more."""
        given = self._sockets.of(self._workers.index(worker))
        keys = [key for key, sockets in given.items() for _ in sockets]
        fds = [fd for sockets in given.values() for fd in sockets]
        for i in range(0, len(fds), MOST_FDS):
            await worker.tell(
                "sockets", fds[i : i + MOST_FDS], keys=keys[i : i + MOST_FDS], version=self._version, all=list(given)
            )

    async def _hear_worker(self, worker: Child, message: Message) -> None:
        """That it has lost control out of sight, or that it drains."""
        if message.kind == "relink":
            await self._introduce(worker)
            return
        if message.kind == "resend":
            await self._hand_sockets(worker)
            return
        self._draining.add(worker)
        if all(each in self._draining or each.pid is None for each in self._rows):
            self._drained.set()

    async def _hear_control(self, control: Child, message: Message) -> None:
        fields = message.fields
        match message.kind:
            case "want":
                wanted = {key: Address(*where) for key, where in fields["sockets"].items()}
                try:
                    if self._phase == "draining":
                        raise Refused("the daemon is stopping")
                    if fields["workers"] + len(self._rows) - len(self._workers) > MAX_WORKERS:
                        raise Refused("too many workers still finish what they hold; try again when some have ended")
                    bound = self._sockets.prepare(wanted, fields["workers"])
                except Refused as error:
                    await control.tell("refused", why=str(error), in_use=isinstance(error, InUse))
                else:
                    await control.tell("granted", bound=bound)
            case "abort":
                self._sockets.give_up()
            case "commit":
                start_logs(os.environ, fields["log_level"], fields["log_form"])
                if self._phase != "draining":
                    await self._commit(fields["workers"], fields["hang"])
                await control.tell("committed", version=self._version)
            case "ready":
                if self._phase == "starting":
                    self._phase = "serving"
                    control.wanted = True
                self._notify()
            case "reloading":
                if self._phase == "serving":
                    self._manager.reloading()
            case "reloaded":
                self._notify()
            case "status":
                self._status = fields["status"]
            case "counted":
                self._counted.set()

    async def _commit(self, workers: int, hang: float) -> None:
        """Put in force what was prepared: sockets, and how many workers there are."""
        self._sockets.commit()
        self._version += 1
        self._control.hang = hang
        leaving, self._workers = self._workers[workers:], self._workers[:workers]
        for worker in leaving:
            worker.wanted = False
            await worker.tell("drain")
        for worker in self._workers:
            worker.hang = hang
            await self._hand_sockets(worker)
        while len(self._workers) < workers:
            self._nursery.start_soon(self._keep_worker, self._worker())
        await self._tell_processes()

    async def _tell_processes(self) -> None:
        await self._control.tell("processes", processes=[each.facts() for each in (self._control, *self._rows)])

    async def _beat(self) -> None:
        """Tell the service manager, and feed its watchdog while all workers beat; traffic does without control."""
        while True:
            alive = all(worker.alive() for worker in self._workers if worker.wanted)
            self._notify(alive=alive)
            await trio.sleep(self._manager.interval)

    def _notify(self, *, alive: bool = False) -> None:
        self._manager.tell(self._phase, self._status, alive=alive)
