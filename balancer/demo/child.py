"""A process that the demo runs: started on a leash, ended for sure, its last words kept."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque

import trio

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
LAST_WORDS = 8
"""Lines of standard error that are kept."""


class Child:
    """``python -m MODULE ARGUMENTS…`` as a process of its own.

    It gets a session of its own, so that Ctrl-C reaches the demo alone and the demo decides who ends when, and a leash
    (``balancer.demo.leash``), so that it ends even if the demo has no time to see to it.
    """

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        self.name = name
        self.stopping = False
        """Whether its end was wanted."""
        self._command = [sys.executable, "-m", "balancer.demo.leash", module, *arguments]
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._lines: deque[str] = deque(maxlen=LAST_WORDS)

    async def run(self) -> str:
        """Run it to its end, which ``stop`` or a cancellation brings about; say how it ended and its last words."""
        process = await trio.lowlevel.open_process(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, process)
                    await process.wait()
                    nursery.cancel_scope.deadline = trio.current_time() + 1.0  # someone else may hold its pipe open
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)
            self._ended.set()
        status = process.returncode or 0
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return "\n  ".join([how, *self._lines])

    async def stop(self) -> None:
        """End it and wait until it is gone."""
        self.stopping = True
        self._scope.cancel()
        await self._ended.wait()

    async def _listen(self, process: trio.Process) -> None:
        assert process.stderr is not None
        rest = b""
        async for data in process.stderr:
            *lines, rest = (rest + data)[-65536:].split(b"\n")
            self._lines.extend(line.decode(errors="replace") for line in lines if line.strip())


async def _end(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(GRACE):
        await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    for pipe in (process.stdin, process.stderr):
        assert pipe is not None
        await pipe.aclose()
