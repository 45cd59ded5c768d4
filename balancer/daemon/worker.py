"""A worker process: the data plane. It obeys the supervisor and control, and goes on serving without them.

Without control it serves with its last configuration. Without the supervisor it drains and ends, so that a new daemon
finds nothing to clean up.
"""

import gc
import logging
import mmap
import os
import platform
import socket
import sys

import trio

from balancer.daemon.child import BEAT, begin
from balancer.daemon.logs import start_logs
from balancer.ipc.channel import Channel
from balancer.ipc.link import Link
from balancer.ipc.messages import TO_WORKER, WIRE, Attached, Setup
from balancer.ipc.supervision import (
    TO_CHILD,
    Drain,
    Draining,
    EndNow,
    Heartbeat,
    LinkEnd,
    ListeningFds,
    Relink,
    ReopenLog,
    Resend,
)
from balancer.ipc.wire import Unreadable
from balancer.net.contexts import unraisable
from balancer.net.engine import Engine
from balancer.net.host import serve
from balancer.proxy.accesslog import AccessLog, log_target
from balancer.proxy.control_client import ControlClient
from balancer.proxy.listening_sockets import ListeningSockets
from balancer.proxy.worker_state import WorkerState
from balancer.shared.counters import SharedCounters
from balancer.shared.version import VERSION

logger = logging.getLogger("balancer.worker")

TIDY_INTERVAL = 1.0
"""Seconds between two runs of housekeeping."""
RETRY_WAIT = 0.5
"""Seconds before descriptors or a link are requested again."""
GOODBYE = 2.0
"""Seconds for connections to send close frames after the drain."""


class Worker:
    """``channel`` leads to the supervisor."""

    def __init__(self, channel: Channel, shared_counters: SharedCounters) -> None:
        self._channel = channel
        self._engine = Engine()
        self._sockets = ListeningSockets()
        self._logged = ("off", "json", "local0")
        """What the access log was made of: target, format and facility."""
        self._log = AccessLog("off")
        self._state = WorkerState(self._engine, self._log, shared_counters)
        self._logging: trio.CancelScope | None = None
        self._link_scope: trio.CancelScope | None = None
        self._end = trio.Event()
        self._stopping = False
        """The daemon stops."""

    async def run(self) -> None:
        """Serve until told to stop, and drained."""
        async with trio.open_nursery() as self._logs:
            async with trio.open_nursery() as self._nursery:
                self._client = ControlClient(self._state, self._sockets, self._nursery)
                await self._nursery.start(serve, self._engine)
                for task in (self._obey, self._beat, self._tidy):
                    self._nursery.start_soon(task)
                await self._client.departure.begun.wait()
                self._client.drain()
                if self._stopping:  # else clients whose connections are kept may make one more request
                    self._state.close_between_requests()
                await self._channel.send(Draining())
                await self._finish()
                self._nursery.cancel_scope.cancel()
            self._logs.cancel_scope.cancel()
        self._sockets.close()

    async def _obey(self) -> None:
        """Obey the supervisor; if it is gone, drain and end."""
        while (received := await self._channel.receive()) is not None:
            message, fds = received
            match message:
                case ListeningFds():
                    if not self._sockets.bring(message.version, message.everything, message.keys, fds):
                        self._nursery.start_soon(self._ask_later, Resend())
                case LinkEnd() if not fds:  # this process had no descriptor left for it
                    self._nursery.start_soon(self._ask_later, Relink())
                case LinkEnd():
                    if self._link_scope is not None:
                        self._link_scope.cancel()
                    self._link_scope = trio.CancelScope()
                    self._nursery.start_soon(self._talk, socket.socket(fileno=fds[0]), self._link_scope)
                case Drain():
                    self._leave()
                case EndNow():
                    self._end.set()
                    self._leave()
                case ReopenLog():
                    self._log.reopen()
                case Unreadable():
                    logger.error("a message of the supervisor was ignored: %s", message.reason)
        self._leave()

    def _leave(self) -> None:
        """Accept no more, and end with the last connection or after ``timeouts.drain``."""
        self._client.departure.ask(self._state.timeouts.drain, None, "the balancer stops")
        self._stopping = True
        if self._state.draining:
            self._state.close_between_requests()

    async def _ask_later(self, request: Relink | Resend) -> None:
        """Free descriptors, then ask the supervisor again for those that did not fit."""
        logger.error("out of file descriptors: cannot take what the supervisor sends; trying again in %g s", RETRY_WAIT)
        self._state.close_idle()
        await trio.sleep(RETRY_WAIT)
        await self._channel.send(request)

    async def _talk(self, sock: socket.socket, scope: trio.CancelScope) -> None:
        """Follow control until the link ends, then ask the supervisor for another."""
        link = Link(sock, TO_WORKER)
        with scope:
            try:
                await self._follow(link)
            except Exception:  # tunnels outlive whatever went wrong with control
                logger.exception("the link to control failed; asking for another in %g s", RETRY_WAIT)
        link.close()
        await trio.sleep(RETRY_WAIT)
        if self._link_scope is scope:  # no other link came: control may live, and only have been too slow for us
            await self._channel.send(Relink())

    async def _follow(self, link: Link) -> None:
        """Introduce this worker to control, and do what control says until the link ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            self._state.tunnel_registry.post = link.post
            tunnels = self._state.tunnel_registry.all()
            link.post(Attached(VERSION, WIRE, platform.python_version(), tunnels))
            async for message in link:
                if await self._client.handle(message, link.post) and isinstance(message, Setup):
                    self._follow_log(message)
            nursery.cancel_scope.cancel()

    def _follow_log(self, setup: Setup) -> None:
        """Switch to the configured access log; lines that the old one holds are still written."""
        start_logs(os.environ, setup.level, setup.settings.log.format)
        log = setup.settings.log
        wanted = log.access, log.access_format, log.facility
        if self._logging is not None and self._logged == wanted:
            return
        if self._logging is None:
            _freeze()
        former = self._logging
        self._logged = wanted
        self._log = AccessLog(log_target(log.access), log.access_format, log.facility)
        self._logging = trio.CancelScope()
        self._logs.start_soon(self._write, self._log, self._logging)
        self._state.log = self._log
        if former is not None:
            former.cancel()

    async def _write(self, log: AccessLog, scope: trio.CancelScope) -> None:
        with scope:
            await log.run()

    async def _finish(self) -> None:
        """Wait until every connection has ended, the time is up, or ``EndNow`` comes."""
        state = self._state
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await self._end.wait()
                nursery.cancel_scope.cancel()

            async def finish() -> None:
                await state.empty.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end)
            nursery.start_soon(finish)
            await self._client.departure.run(state)
            nursery.cancel_scope.cancel()
        state.close("the balancer stops")
        if not self._end.is_set():
            with trio.move_on_after(GOODBYE):
                await state.empty.wait()
        state.release()

    async def _beat(self) -> None:
        """Send heartbeats while the engine turns."""
        while True:
            turned = trio.Event()
            self._engine.spawn(_turn(self._engine, turned))
            await turned.wait()
            await self._channel.send(Heartbeat())
            await trio.sleep(BEAT)

    async def _tidy(self) -> None:
        while True:
            try:
                self._state.tidy()
            except Exception:  # it is tried again in a second
                logger.exception("housekeeping failed")
            await trio.sleep(TIDY_INTERVAL)


def _freeze() -> None:
    """Exempt what exists now from garbage collection: it lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10000, 20, 20)


async def _turn(engine: Engine, turned: trio.Event) -> None:
    """Set ``turned`` when the engine has stepped this task; its first step runs in ``spawn``."""
    await engine.give_way()
    turned.set()


def main() -> None:
    """Run the process for ``balancer.daemon.start``; arguments are CHANNEL COUNTERS NUMBER."""
    begin()
    sys.unraisablehook = unraisable
    channel, shared_counters, number = map(int, sys.argv[1:])
    view = memoryview(mmap.mmap(shared_counters, 0))
    with socket.socket(fileno=channel) as sock:
        trio.run(Worker(Channel(sock, TO_CHILD), SharedCounters(view, number)).run)
