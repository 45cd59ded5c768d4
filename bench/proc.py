"""CPU time and memory of a process and its descendants, read from /proc (proc(5)).

``schedstat`` counts nanoseconds where ``stat`` counts ticks of 10 ms. It is per thread, so those of all threads are
summed up. The kernel charges its work on loopback packets to their sender, for every proxy alike.
"""

from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from bench.process import BenchError

_PROC = Path("/proc")

Times = dict[int, dict[str, int]]
"""Nanoseconds of CPU time by process and thread."""


def tree(root: int) -> list[int]:
    """Return the process ids of ``root`` and all its descendants."""
    children = defaultdict(list)
    for entry in _PROC.glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        children[parent].append(int(entry.parent.name))
    found = [root]
    for process in found:  # the list grows during the loop
        found += children[process]
    return found


def processor_time(root: int) -> Times:
    """Return the CPU time that the process tree has used so far."""
    return {process: _threads(process) for process in tree(root)}


def _threads(process: int) -> dict[str, int]:
    found = {}
    for entry in (_PROC / str(process) / "task").glob("*/schedstat"):
        with suppress(OSError):  # it has just ended
            found[entry.parent.name] = int(entry.read_text().split()[0])
    return found


def spent_since(before: Times, root: int) -> list[int]:
    """Return the nanoseconds of CPU time since ``before``, of each thread. Raises ``BenchError`` if a process ended."""
    after = processor_time(root)
    if not before.keys() <= after.keys():
        raise BenchError("a process of the proxy ended during the run")
    return [
        nanoseconds - before.get(process, {}).get(thread, 0)
        for process, threads in after.items()
        for thread, nanoseconds in threads.items()
    ]


def memory(root: int) -> int:
    """Return the bytes of memory of the process tree.

    Pages that several processes share are counted once (proportional set size), if the kernel lets us read that.
    Another proxy that runs the same program therefore takes its part of the pages both share.
    """
    return sum(map(_held, tree(root)))


def _held(process: int) -> int:
    """Memory of one process; 0 if it has just ended."""
    for file, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            for line in (_PROC / str(process) / file).read_text().splitlines():
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
        except OSError:  # no permission, or it has ended
            continue
    return 0
