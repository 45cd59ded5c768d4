"""A child process of the demo: it ends with the demo, and its last lines of standard error are kept."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque

import trio

TERM_TIMEOUT = 5.0
"""Seconds between SIGTERM and SIGKILL."""
KEPT_LINES = 8
"""Lines of standard error that are kept."""


class Child:
    """``python -m MODULE ARGUMENTS…`` in a process of its own.

    The process gets its own session, so that Ctrl-C reaches only the demo, which then ends its children in order. It
    runs under ``balancer.demo.leash``, so that it ends even if the demo is killed.
    """

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        self.name = name
        self.stopping = False
        """Whether ``stop`` was called."""
        self._command = [sys.executable, "-m", "balancer.demo.leash", module, *arguments]
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    async def run(self) -> str:
        """Run the process until it ends, ``stop`` is called, or the task is cancelled.

        Return how it ended, followed by its last lines of standard error.
        """
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
                    nursery.cancel_scope.deadline = trio.current_time() + 1.0  # a grandchild may hold the pipe open
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)
            self._ended.set()
        status = process.returncode or 0
        reason = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return "\n  ".join([reason, *self._lines])

    async def stop(self) -> None:
        """End the process and wait until it has ended."""
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
    with trio.move_on_after(TERM_TIMEOUT):
        await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    for pipe in (process.stdin, process.stderr):
        assert pipe is not None
        await pipe.aclose()
