"""A worker process: the data plane. It does what the supervisor and control tell it, and goes on serving without them.

Without control it serves by what it was last told. Without the supervisor it drains and ends: whoever starts the daemon
again has nothing to clear away.
"""

import gc
import logging
import mmap
import os
import socket
import sys

import trio

from balancer.daemon.child import BEAT, begin
from balancer.daemon.logs import start_logs
from balancer.ipc.channel import Channel
from balancer.ipc.link import Link
from balancer.ipc.messages import Attached, Setup
from balancer.net.contexts import unraisable
from balancer.net.engine import Engine
from balancer.proxy.accesslog import AccessLog
from balancer.proxy.control_client import ControlClient
from balancer.proxy.listening_sockets import ListeningSockets
from balancer.proxy.worker_state import WorkerState
from balancer.shared.counters import SharedCounters

logger = logging.getLogger("balancer.worker")

TIDY = 1.0
"""Seconds between two looks for what is over."""
GOODBYE = 2.0
"""Seconds for which closing connections may say goodbye once the drain is over."""


class Worker:
    """``channel`` leads to the supervisor."""

    def __init__(self, channel: Channel, shared_counters: SharedCounters) -> None:
        self._channel = channel
        self._shared_counters = shared_counters
        self._engine = Engine()
        self._sockets = ListeningSockets()
        self._follower: ControlClient | None = None
        self._log = AccessLog("off")
        self._logging: trio.CancelScope | None = None
        self._talking: trio.CancelScope | None = None
        self._leave = trio.Event()
        self._hurry = trio.Event()

    async def run(self) -> None:
        """Serve until told to end, and ended."""
        async with trio.open_nursery() as self._logs:
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self._engine.run)
                for task in (self._obey, self._beat, self._tidy):
                    self._nursery.start_soon(task)
                await self._leave.wait()
                if self._follower is not None:
                    self._follower.drain()
                    await self._channel.send("draining")
                    await self._finish(self._follower)
                self._nursery.cancel_scope.cancel()
            self._logs.cancel_scope.cancel()

    async def _obey(self) -> None:
        """Do what the supervisor says; its end is ours, once all is done."""
        while (message := await self._channel.receive()) is not None:
            match message.kind:
                case "sockets":
                    fields = message.fields
                    self._sockets.bring(fields["version"], fields["all"], fields["keys"], message.fds)
                case "link":
                    if self._talking is not None:
                        self._talking.cancel()
                    self._talking = trio.CancelScope()
                    self._nursery.start_soon(self._talk, socket.socket(fileno=message.fds[0]), self._talking)
                case "drain":
                    self._leave.set()
                case "end":
                    self._hurry.set()
                    self._leave.set()
        self._leave.set()

    async def _talk(self, sock: socket.socket, scope: trio.CancelScope) -> None:
        """With control, until it is gone; the supervisor brings us together with the next one."""
        link = Link(sock)
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                if self._follower is None:
                    link.post(Attached(()))
                else:
                    self._follow(self._follower, link)
                async for message in link:
                    if isinstance(message, Setup):
                        self._log_to(message)
                        if self._follower is None:
                            worker = WorkerState(
                                message.config, self._engine, self._log, message.secret, self._shared_counters
                            )
                            self._follower = ControlClient(worker, self._sockets, self._nursery)
                            self._follow(self._follower, link)
                            _freeze()
                    assert self._follower is not None
                    await self._follower.hear(message, link.post)
                nursery.cancel_scope.cancel()
        link.close()
        if self._talking is scope and not scope.cancelled_caught:
            await trio.sleep(BEAT)
            await self._channel.send("relink")  # control may live, and only have been too slow for us

    def _follow(self, follower: ControlClient, link: Link) -> None:
        follower.worker.tunnel_registry.post = link.post
        link.post(follower.worker.tunnel_registry.all())

    def _log_to(self, setup: Setup) -> None:
        """Open the access log, if it is another now; what the old one still holds is written."""
        start_logs(os.environ, setup.level, setup.config.log.format)
        target = setup.config.log.access
        if self._logging is not None and self._log.target == target:
            return
        former = self._logging
        self._log = AccessLog(target)
        self._logging = trio.CancelScope()
        self._logs.start_soon(self._write, self._log, self._logging)
        if self._follower is not None:
            self._follower.worker.log = self._log
        if former is not None:
            former.cancel()

    async def _write(self, log: AccessLog, scope: trio.CancelScope) -> None:
        with scope:
            await log.run()

    async def _finish(self, follower: ControlClient) -> None:
        """Until every connection has ended, the time is up, or somebody hurries us."""
        worker = follower.worker
        async with trio.open_nursery() as nursery:

            async def hurry() -> None:
                await self._hurry.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(hurry)
            with trio.move_on_after(worker.timeouts.drain):
                await worker.empty.wait()
            nursery.cancel_scope.cancel()
        worker.close("the balancer stops")
        if not self._hurry.is_set():
            with trio.move_on_after(GOODBYE):
                await worker.empty.wait()
        worker.release()

    async def _beat(self) -> None:
        """Tell the supervisor that the engine turns."""
        while True:
            turned = trio.Event()
            self._engine.spawn(_turn(self._engine, turned))
            await turned.wait()
            await self._channel.send("beat")
            await trio.sleep(BEAT)

    async def _tidy(self) -> None:
        while True:
            if self._follower is not None:
                self._follower.worker.tidy()
            await trio.sleep(TIDY)


def _freeze() -> None:
    """What exists now lives as long as the process: no collection need look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10000, 20, 20)


async def _turn(engine: Engine, turned: trio.Event) -> None:
    """Done once the engine's own task has stepped it; the first step, up to here, is that of whoever spawns it."""
    await engine.give_way()
    turned.set()


def main() -> None:
    """Of ``balancer.daemon.start``; the words are CHANNEL BOARD NUMBER."""
    begin()
    sys.unraisablehook = unraisable
    channel, shared_counters, number = map(int, sys.argv[1:])
    view = memoryview(mmap.mmap(shared_counters, 0))
    trio.run(Worker(Channel(socket.socket(fileno=channel)), SharedCounters(view, number)).run)
