"""Read how much CPU time a process has used and waited for, from proc(5)."""

import os
from contextlib import suppress

from balancer.daemon.watchdog import CpuUse

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_STATE, _UTIME, _STIME = 0, 11, 12
"""Fields of ``/proc/PID/stat`` behind the name, which may hold spaces and parentheses."""


def cpu_use(pid: int) -> CpuUse | None:
    """Return the CPU use of all threads of a process; None if it cannot be read.

    Kernels without ``CONFIG_SCHED_INFO`` and some sandboxes have no ``schedstat``: CPU time then comes from ``stat``,
    in steps of 10 ms, and a wait shows only as a thread that is runnable.
    """
    ran = waited = 0.0
    runnable = found = False
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):  # it has just ended
                fields = _read(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].split()
                found = True
                runnable |= fields[_STATE] == "R"
                try:
                    thread_ran, thread_waited, _ = _read(f"/proc/{pid}/task/{thread}/schedstat").split()
                    ran += int(thread_ran) / 1e9
                    waited += int(thread_waited) / 1e9
                except OSError:
                    ran += (int(fields[_UTIME]) + int(fields[_STIME])) * _TICK
    return CpuUse(ran, waited, runnable) if found else None


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode("utf-8", "replace")
    finally:
        os.close(fd)
