"""A process under supervision: started by exec, listened to, ended when it hangs, started again when it ends.

Some facts. A child that dies at once, again and again, must not be started a hundred times a second: each end within
``SETTLED`` seconds of the start doubles the wait before the next, up to ``LONGEST_WAIT``. A child that hangs is found
out by its silence: it sends a beat four times a second from the very loop that does its work. Children learn of our end
by the end of their channel, whatever ended us, kill -9 included; so there is no need to chase them.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from balancer.daemon.logs import start_logs
from balancer.ipc.channel import Channel, Message, pair

logger = logging.getLogger("balancer.supervisor")

FIRST_WAIT = 0.1
LONGEST_WAIT = 10.0
"""Seconds before a child that keeps dying is started again, at first and at most."""
SETTLED = 10.0
"""Seconds after which a child is held to have started well."""
BEAT = 0.25
"""Seconds between two signs of life."""


class Child:
    """``main`` of ``module`` run as ``name``.

    ``words`` gives its arguments after the channel, and the descriptors it inherits; ``hear`` takes what it says.
    """

    def __init__(
        self,
        name: str,
        module: str,
        words: Callable[[], tuple[list[str], list[int]]],
        hear: Callable[["Child", Message], Awaitable[None]],
    ) -> None:
        self.name = name
        self.hang = 10.0
        """Seconds of silence after which it is held to hang."""
        self.channel: Channel | None = None
        """To the running process."""
        self.pid: int | None = None
        self.starts = 0
        self.ended = ""
        """How the last one ended, if any did."""
        self.wanted = True
        """Is it to be started again when it ends?"""
        self._module = module
        self._words = words
        self._hear = hear
        self._heard = 0.0
        self._quick_ends = 0

    def facts(self) -> dict[str, Any]:
        """For operators."""
        return {"name": self.name, "pid": self.pid, "starts": self.starts, "last_end": self.ended or None}

    async def keep(
        self, started: Callable[["Child"], Awaitable[None]], ended: Callable[["Child"], Awaitable[None]]
    ) -> int:
        """Run it, and again while it is ``wanted``; the exit status of the last. Each start and each end is told of."""
        while True:
            began = trio.current_time()
            status = await self._run(started)
            await ended(self)
            self._quick_ends = self._quick_ends + 1 if trio.current_time() - began < SETTLED else 0
            if not self.wanted:
                return status
            wait = min(FIRST_WAIT * 2 ** (self._quick_ends - 1), LONGEST_WAIT) if self._quick_ends else 0.0
            when = f"in {wait:.1f} s" if wait else "at once"
            logger.error("%s ended (%s); it is started again %s", self.name, self.ended, when)
            await trio.sleep(wait)
            if not self.wanted:
                return status

    def alive(self) -> bool:
        """Does it run, and has it given a sign of life lately?"""
        return self.pid is not None and trio.current_time() - self._heard < self.hang

    async def tell(self, kind: str, fds: list[int] | None = None, **fields: Any) -> None:  # noqa: ANN401  # JSON
        """Send it a message; without effect while it does not run, or does not listen."""
        if self.channel is not None:
            with trio.move_on_after(self.hang):
                await self.channel.send(kind, fds or (), **fields)

    def kill(self) -> None:
        """End it at once."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _run(self, started: Callable[["Child"], Awaitable[None]]) -> int:
        ours, theirs = pair()
        words, fds = self._words()
        with theirs:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "balancer.daemon.start", self._module, str(theirs.fileno()), *words],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C in a terminal is for us alone
                pass_fds=[theirs.fileno(), *fds],
            )
        self._process = process
        self.channel, self.pid = Channel(ours), process.pid
        self.starts += 1
        self._heard = trio.current_time() + SETTLED  # importing takes a while on a busy machine
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, self.channel)
                nursery.start_soon(self._watch)
                await started(self)
                await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.channel.close()
            self.channel = self.pid = None
            if process.returncode is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
        status = await process.wait()
        self.ended = _how(status)
        return status

    async def _listen(self, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            self._heard = trio.current_time()
            if message.kind != "beat":
                await self._hear(self, message)

    async def _watch(self) -> None:
        while True:
            await trio.sleep(BEAT / 2)
            if not self.alive():
                logger.error("%s (pid %s) has given no sign of life for %g s: killed", self.name, self.pid, self.hang)
                self.kill()
                return


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def begin() -> None:
    """What a child does first: signals are the supervisor's business, and lines go where the daemon's go."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    start_logs(os.environ)
