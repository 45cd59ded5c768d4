"""The supervisor: holds the listening sockets and keeps one control process and the workers running.

It never reads the configuration: control does, and says which sockets and how many workers there are to be (``want``,
then ``commit`` or ``abort``). Whenever control or a worker has been started, both get an end of a new socket pair, so
that they talk past it. What must outlive control, and is no file, is in two anonymous files (memfd_create(2)) that are
open here, as the numbers that workers share are: see ``daemon.holdings``.

The end: workers are told to drain and end by themselves, then control is. A second signal makes that quick. A child
that finds its channel closed, because we are gone, drains likewise.

An upgrade: the next version of all this is executed in the same process, see ``daemon.upgrades``.
"""

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import trio

from balancer.config.scalars import Address, format_duration
from balancer.daemon.child import ChildOwner, ChildProcess
from balancer.daemon.holdings import Holdings
from balancer.daemon.logs import start_logs
from balancer.daemon.signals import STOPS
from balancer.daemon.systemd import Manager, Phase
from balancer.daemon.upgrades import Upgrades
from balancer.errors import InUse, Refused
from balancer.ipc.supervision import (
    AbortSockets,
    Answering,
    CommitSockets,
    Counted,
    Drain,
    EndNow,
    HandedOver,
    LameDuck,
    Proven,
    Ready,
    Reloaded,
    Reloading,
    ReloadNow,
    ReopenLog,
    SocketsCommitted,
    SocketsGranted,
    SocketsRefused,
    StatusText,
    Stop,
    UpgradeNow,
    WantSockets,
    WantUpgrade,
    Warm,
)
from balancer.ipc.wire import Message
from balancer.upgrade.state import Handover

logger = logging.getLogger("balancer.supervisor")

DRAIN_TIMEOUT = 1.0
"""Seconds to wait for children to report that they drain."""
GOODBYE_TIMEOUT = 5.0
"""Seconds a child may take to end after ``EndNow`` or ``Stop``."""


class Supervisor(ChildOwner):
    """``config`` is the file control reads; ``handed`` are sockets of the service manager.

    ``former`` is what another version has handed over. ``discard_newer`` lets control discard what a newer version has
    written to the state directory. Raises ``OSError``.
    """

    def __init__(
        self,
        config: Path,
        handed: list[socket.socket],
        manager: Manager,
        *,
        former: Handover | None = None,
        discard_newer: bool = False,
    ) -> None:
        self._manager = manager
        self._phase: Phase = "starting" if former is None else "serving"
        self._counted = trio.Event()
        """Set when the status is from after the drain began."""
        self._held = Holdings(self, str(config), handed, manager, former, discard_newer=discard_newer)
        self._control, self._workers, self._sockets = self._held.control, self._held.workers, self._held.sockets
        self._upgrades = Upgrades(self._held, former)
        self._drain_at = 0.0
        """When the time of ``timeouts.lame`` is up."""
        self._why = ""
        """Why the daemon ends."""
        self._reload_owed = False
        """A reload was requested while control was not running."""

    async def run(self, signals: AsyncIterator[int]) -> int:
        """Run until a signal has ended it, or control refuses to start; return the exit status."""
        status = 0
        ended = trio.Event()
        async with trio.open_nursery() as nursery:

            async def keep_control() -> None:
                nonlocal status
                await self._control.keep()
                ended.set()
                if self._phase == "starting":  # it has said why
                    status = self._control.status or 1
                    nursery.cancel_scope.cancel()

            self._nursery = nursery
            self._workers.open(nursery)
            nursery.start_soon(keep_control)
            nursery.start_soon(self._beat)
            await self._upgrades.open(nursery)
            await self._obey(signals)
            await self._control.tell(Stop())
            with trio.move_on_after(GOODBYE_TIMEOUT):
                await ended.wait()
            status = 0
            nursery.cancel_scope.cancel()
        self._held.close()
        if status:
            logger.error("the daemon has ended: control refused to start (%s)", self._control.last_end)
        else:
            logger.info("the daemon has ended: %s", self._why)
        return status

    async def child_started(self, child: ChildProcess) -> None:
        await self._upgrades.begin()
        if child.starts > 1:
            logger.info("control restarted (pid %s)", child.pid)
        if self._phase == "lame":
            await child.tell(LameDuck(max(0.0, self._drain_at - trio.current_time())))
        if self._reload_owed:
            self._reload_owed = False
            await child.tell(ReloadNow())
        await self._workers.tell_control()

    async def child_ended(self, child: ChildProcess) -> None:
        if self._phase == "starting" and child.status is not None and child.status > 0:
            child.wanted = False  # it refused, or would crash again; one that was killed is restarted
        await self._workers.tell_control()

    async def child_said(self, child: ChildProcess, message: Message, fds: list[int]) -> None:
        match message:
            case WantSockets():
                await child.tell(self._prepare(message))
            case AbortSockets():
                self._sockets.give_up()
            case CommitSockets():
                held = self._held
                held.log_level, held.log_format, held.lame = message.log_level, message.log_format, message.lame
                start_logs(os.environ, message.log_level, message.log_format)
                if self._phase != "draining":
                    self._control.hang = message.hang
                    await self._workers.commit(self._number_of(message.workers), message.hang)
                await child.tell(SocketsCommitted(self._workers.version))
            case Ready():
                if self._phase == "starting":
                    self._phase = "serving"
                self._notify()
            case Reloading():
                await self._workers.tell(ReopenLog())
                if self._phase == "serving":
                    self._manager.reloading()
            case Reloaded():
                self._notify()
            case StatusText():
                self._held.status = message.text
            case Counted():
                self._counted.set()
            case WantUpgrade() if self._phase == "serving" and not self._upgrades.running:
                self._nursery.start_soon(self._upgrades.request, message)
            case Warm() | Answering() | Proven() | HandedOver() if self._upgrades.trial is not None:
                self._upgrades.trial.hear(message, fds)

    def _number_of(self, workers: int) -> int:
        """Return how many workers there are to be: while a version is on trial, as many as before."""
        return workers if self._upgrades.trial is None else self._sockets.workers

    def _prepare(self, message: WantSockets) -> SocketsGranted | SocketsRefused:
        try:
            if self._phase == "draining":
                raise Refused("the daemon is stopping")
            if not self._workers.have_room_for(message.workers):
                raise Refused("too many workers are still draining; try again when some have ended")
            wanted = {key: Address(*where) for key, where in message.sockets.items()}
            if message.trial:
                self._sockets.attempt(wanted)
                return SocketsGranted({})
            return SocketsGranted(self._sockets.prepare(wanted, self._number_of(message.workers)))
        except Refused as error:
            return SocketsRefused(str(error), isinstance(error, InUse))

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        """Handle signals; return when everything but control has ended."""
        self._why = await self._asked_to_stop(signals)
        self._upgrades.cancel()
        hurried = self._held.lame > 0 and await self._be_lame(signals)
        self._phase = "draining"
        self._control.wanted = False
        await self._control.tell(Drain())
        await self._workers.drain()
        with trio.move_on_after(DRAIN_TIMEOUT):
            await self._counted.wait()
            await self._workers.drained.wait()
        self._sockets.close()  # new clients are refused rather than left waiting
        logger.info("%s: no new connections; open ones may finish, a second signal ends them", self._why)
        self._notify()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self._hurry, signals, now=hurried))
            await self._workers.ended()
            nursery.cancel_scope.cancel()

    async def _asked_to_stop(self, signals: AsyncIterator[int]) -> str:
        """Handle signals until one asks to stop; return its name."""
        async for number in signals:
            if number in STOPS:
                return signal.Signals(number).name
            if number == signal.SIGUSR2:
                await self._control.tell(UpgradeNow())
                continue
            await self._workers.tell(ReopenLog())
            if number == signal.SIGHUP and self._phase != "draining" and not await self._control.tell(ReloadNow()):
                self._reload_owed = True
        raise AssertionError("signals never end")

    async def _be_lame(self, signals: AsyncIterator[int]) -> bool:
        """Ask for no new clients for a while before the drain; return whether a signal cut that short."""
        lame = self._held.lame
        self._phase, self._drain_at = "lame", trio.current_time() + lame
        await self._control.tell(LameDuck(lame))
        logger.info("%s: asking for no new clients; the drain begins in %s", self._why, format_duration(lame))
        self._notify()
        with trio.move_on_at(self._drain_at):
            await self._asked_to_stop(signals)
            return True
        return False

    async def _hurry(self, signals: AsyncIterator[int], *, now: bool) -> None:
        """Close what is open at a second signal."""
        if not now:
            await self._asked_to_stop(signals)
        self._why += ", and a second signal"
        logger.info("second signal: closing what is still open")
        await self._workers.tell(EndNow())
        await trio.sleep(GOODBYE_TIMEOUT)
        for worker in self._workers.all:
            worker.kill()

    async def _beat(self) -> None:
        """Notify the service manager, and feed its watchdog while workers live; traffic does not need control."""
        while True:
            self._notify(alive=self._workers.alive)
            await trio.sleep(self._manager.interval)

    def _notify(self, *, alive: bool = False) -> None:
        upgrading = self._phase == "serving" and self._upgrades.news.state == "running"
        self._manager.tell("upgrading" if upgrading else self._phase, self._held.status, alive=alive)
