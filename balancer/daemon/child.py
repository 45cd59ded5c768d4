"""A supervised process: started by exec, watched by heartbeats, killed when it hangs, restarted when it ends.

Some facts. A child that dies at once, again and again, must not be started a hundred times a second: each end within
``SETTLED`` seconds of the start doubles the wait before the next, up to ``LONGEST_WAIT``. The same goes for a child
that cannot be started, for lack of descriptors, memory or processes: it is tried again. A child that hangs is found out
by its heartbeats, which come four times a second from the very loop that does its work; ``balancer.daemon.watchdog``
says when it hangs. Children learn of our end by the end of their channel, whatever ended us, kill -9 included; so there
is no need to chase them.
"""

import logging
import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

import trio

from balancer.daemon.adopted import AdoptedProcess
from balancer.daemon.cpu_use import cpu_use
from balancer.daemon.logs import start_logs
from balancer.daemon.signals import ignore_signals
from balancer.daemon.stderr import keep_stderr_from_blocking
from balancer.daemon.watchdog import LOOK_EVERY, Watchdog
from balancer.ipc.channel import Channel, pair
from balancer.ipc.supervision import TO_SUPERVISOR, Heartbeat, ProcessFacts
from balancer.ipc.wire import Message, Unreadable
from balancer.upgrade.release import Release
from balancer.upgrade.state import ChildState

logger = logging.getLogger("balancer.supervisor")

FIRST_WAIT = 0.1
LONGEST_WAIT = 10.0
"""Least and most seconds before a child that keeps dying is restarted."""
SETTLED = 10.0
"""Seconds after which a start counts as successful."""
BEAT = 0.25
"""Seconds between two heartbeats."""
START = "balancer.daemon.start"
"""The module in which children begin."""
_KILLED_LOOK = 0.02
"""Seconds between two checks whether a killed process is gone."""


class ChildOwner(ABC):
    """Starts children and handles their events."""

    @abstractmethod
    async def child_started(self, child: "ChildProcess") -> None:
        """Called when a process of the child has been started."""

    @abstractmethod
    async def child_ended(self, child: "ChildProcess") -> None:
        """Called when a process of the child has ended, or could not be started."""

    @abstractmethod
    async def child_said(self, child: "ChildProcess", message: Message, fds: list[int]) -> None:
        """Act on a message, and take its descriptors; must not wait for anything the child says later."""


class ChildProcess:
    """``main`` of ``module`` of a release, with its channel and ``arguments`` as arguments; it inherits descriptors."""

    def __init__(
        self,
        name: str,
        release: Release,
        module: str,
        arguments: Sequence[str],
        inherited: Sequence[int],
        owner: ChildOwner,
    ) -> None:
        self.name = name
        self.channel: Channel | None = None
        """Channel to the running process."""
        self.pid: int | None = None
        self.starts = 0
        self.last_end = ""
        """How the last process ended, or why it could not be started."""
        self.status: int | None = None
        """Its exit status, negative for a signal; None if it could not be started."""
        self.wanted = True
        """Whether it is restarted when it ends."""
        self.over = False
        """``keep`` has ended: there will be no other process."""
        self._program = release.command("-m", START, module)
        self._arguments = list(arguments)
        self._inherited = list(inherited)
        self._owner = owner
        self._watchdog = Watchdog(hang=10.0, now=0.0)
        self._quick_ends = 0
        self._process: trio.Process | AdoptedProcess
        self._former: ChildState | None = None

    def adopt(self, state: ChildState) -> None:
        """Begin with a process that the version before has started, if it still runs."""
        if state.pid is None or state.channel is None:
            self.succeed(state)
            return
        self._process = AdoptedProcess(state.pid)
        self.channel = Channel(socket.socket(fileno=state.channel), TO_SUPERVISOR)
        self.pid, self.starts, self.last_end = state.pid, state.starts, state.last_end

    def succeed(self, former: ChildState) -> None:
        """Count on from a process of the version before, in whose place this one is."""
        self._former = former

    def state(self) -> ChildState:
        """Return what the next version has to know to adopt it."""
        facts, channel = self.facts(), None if self.channel is None else self.channel.fileno()
        return ChildState(self.name, self.pid, channel, facts.starts, facts.last_end or "")

    def facts(self, generation: int = 0, version: str = "", place: int | None = None) -> ProcessFacts:
        """Describe it for operators."""
        starts, last_end, former = self.starts, self.last_end, self._former
        if former is not None:  # to begin once more in an upgrade is no restart
            starts, last_end = former.starts + max(0, starts - 1), last_end or former.last_end
        return ProcessFacts(self.name, self.pid, starts, last_end or None, generation, version, place)

    @property
    def hang(self) -> float:
        """Seconds of silence after which it is killed."""
        return self._watchdog.hang

    @hang.setter
    def hang(self, seconds: float) -> None:
        self._watchdog.hang = seconds

    async def keep(self) -> None:
        """Run it, and restart it while it is ``wanted``."""
        while self.wanted or self.channel is not None:
            began = trio.current_time()
            await self._run()
            await self._owner.child_ended(self)
            quick = self.status is None or trio.current_time() - began < SETTLED
            self._quick_ends = self._quick_ends + 1 if quick else 0
            if self.wanted:
                wait = min(FIRST_WAIT * 2 ** (self._quick_ends - 1), LONGEST_WAIT) if quick else 0.0
                what = "could not be started" if self.status is None else "ended"
                when = f"in {wait:.1f} s" if wait else "now"
                logger.error("%s %s (%s); restarting it %s", self.name, what, self.last_end, when)
                await trio.sleep(wait)
        self.over = True

    def alive(self) -> bool:
        """Return whether it runs and does not hang."""
        return self.pid is not None and not self._watchdog.hung

    async def tell(self, message: Message, fds: Sequence[int] = ()) -> bool:
        """Send it a message; return whether that was possible. Nothing is sent while it does not run."""
        if self.channel is None:
            return False
        with trio.move_on_after(self.hang):
            try:
                await self.channel.send(message, fds)
                return True
            except OSError as error:
                what = type(message).__name__
                logger.error("message %s to %s cannot be sent: %s", what, self.name, error.strerror)
        return False

    def kill(self) -> None:
        """Kill it."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _run(self) -> None:
        """Run one process to its end, if it can be started; the first may be running already."""
        adopted = self.channel is not None
        if not adopted:
            try:
                ours, self._process = await self._start()
            except (OSError, RuntimeError, MemoryError) as error:
                self.status, self.last_end = None, getattr(error, "strerror", None) or str(error)
                return
            self.channel, self.pid = Channel(ours, TO_SUPERVISOR), self._process.pid
            self.starts += 1
        channel, process = self.channel, self._process
        assert channel is not None
        self._watchdog = Watchdog(self.hang, trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, channel)
                nursery.start_soon(self._watch)
                if not adopted:
                    await self._owner.child_started(self)
                await process.wait()
                nursery.cancel_scope.cancel()
        except* (OSError, RuntimeError, MemoryError) as group:
            logger.error("%s (pid %s) cannot be looked after; killing it", self.name, self.pid, exc_info=group)
        finally:
            channel.close()
            self.channel = self.pid = None
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    while process.poll() is None:  # noqa: ASYNC110  # waiting may need a descriptor or a thread
                        await trio.sleep(_KILLED_LOOK)
        status = process.returncode
        assert status is not None
        self.status = status
        self.last_end = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    async def _start(self) -> tuple[socket.socket, trio.Process]:
        ours, theirs = pair()
        try:
            with theirs:
                process = await trio.lowlevel.open_process(
                    [*self._program, str(theirs.fileno()), *self._arguments],
                    stdin=subprocess.DEVNULL,
                    process_group=0,  # Ctrl-C in a terminal is for the supervisor only
                    pass_fds=[theirs.fileno(), *self._inherited],
                )
        except BaseException:
            ours.close()
            raise
        return ours, process

    async def _listen(self, channel: Channel) -> None:
        """Handle the messages of the process. One that cannot be read or handled is logged and ignored."""
        while True:
            try:
                received = await channel.receive()
                if received is None:
                    return
                self._watchdog.heartbeat(trio.current_time())
                match received.message:
                    case Heartbeat():
                        pass
                    case Unreadable() as unreadable:
                        logger.error("a message of %s was ignored: %s", self.name, unreadable.reason)
                    case message:
                        await self._owner.child_said(self, message, received.fds)
            except Exception:
                logger.exception("a message of %s could not be handled", self.name)
                await trio.sleep(BEAT)

    async def _watch(self) -> None:
        watchdog = self._watchdog
        while not watchdog.hung:
            await trio.sleep(LOOK_EVERY)
            use = cpu_use(self._process.pid) if watchdog.quiet else None
            watchdog.look(trio.current_time(), use)
        report = watchdog.report(trio.current_time())
        then = " and restarting it" if self.wanted else ""
        logger.error("%s (pid %s): %s; killing it%s", self.name, self.pid, report, then)
        self.kill()


def begin() -> None:
    """Set up a child process: signals are the supervisor's business, and log lines go where the daemon's go."""
    keep_stderr_from_blocking()
    ignore_signals()
    start_logs(os.environ)
