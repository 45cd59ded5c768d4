"""A child process that the version before has started: it is ours, because the pid is the same, but no object knows it.

Its end is seen by a pidfd (pidfd_open(2)), or, where a filter of system calls forbids these, by a thread in waitid(2).
"""

import os
import signal
from contextlib import suppress

import trio

_threads = trio.CapacityLimiter(1000)
_UNKNOWN = 255
"""Exit status of a child that somebody else has waited for."""


class AdoptedProcess:
    """A running child, with the attributes of ``trio.Process`` that are needed here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        try:
            self._fd = os.pidfd_open(pid)
        except OSError:
            self._fd = -1

    async def wait(self) -> None:
        """Wait until it has ended; ``returncode`` says how."""
        while self.poll() is None:
            if self._fd >= 0:
                await trio.lowlevel.wait_readable(self._fd)
            else:
                await trio.to_thread.run_sync(_wait, self.pid, abandon_on_cancel=True, limiter=_threads)

    def poll(self) -> int | None:
        """Return how it has ended, None while it runs."""
        if self.returncode is None:
            try:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = self.pid, _UNKNOWN << 8
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
                if self._fd >= 0:
                    os.close(self._fd)
        return self.returncode

    def kill(self) -> None:
        """Kill it."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def _wait(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
