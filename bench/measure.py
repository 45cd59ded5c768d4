"""What a proxy costs: processor time and memory of its whole process tree, read from /proc (proc(5)).

``schedstat`` counts nanoseconds where ``stat`` counts ticks of 10 ms. It belongs to a thread, so those of all threads
are added up. The kernel's work on loopback packets is charged to whoever sends them, for every proxy alike.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from bench.load import Load, Result
from bench.process import BenchError

_PROC = Path("/proc")


@dataclass(frozen=True)
class Sample:
    """One run of one proxy."""

    operations_per_second: float
    cpu_microseconds: float
    """Processor time of the proxy per operation, user and system."""
    p50_milliseconds: float
    p99_milliseconds: float
    rss_mebibytes: float
    """Resident memory at the end of the run, summed over processes."""


def measure(load: Load, seconds: float, pid: int) -> Sample:
    """Run the load against the proxy whose process tree begins at ``pid``."""
    before = _cpu(pid)
    result: Result = load.run(seconds)
    after = _cpu(pid)
    if not result.operations:
        raise BenchError("not one operation was completed: give it more --seconds")
    if not before.keys() <= after.keys():
        raise BenchError("a process of the proxy ended during the run")
    spent = sum(
        nanoseconds - before.get(process, {}).get(thread, 0)
        for process, threads in after.items()
        for thread, nanoseconds in threads.items()
    )
    return Sample(
        operations_per_second=result.operations / result.seconds,
        cpu_microseconds=spent / 1000 / result.operations,
        p50_milliseconds=result.p50 * 1000,
        p99_milliseconds=result.p99 * 1000,
        rss_mebibytes=sum(map(_rss, after)) / 2**20,
    )


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children = defaultdict(list)
    for entry in _PROC.glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        children[parent].append(int(entry.parent.name))
    found = [root]
    for process in found:  # grows meanwhile
        found += children[process]
    return found


def _cpu(root: int) -> dict[int, dict[str, int]]:
    """Nanoseconds on a processor, by process and thread."""
    return {
        process: {
            entry.parent.name: int(entry.read_text().split()[0])
            for entry in (_PROC / str(process) / "task").glob("*/schedstat")
        }
        for process in tree(root)
    }


def _rss(process: int) -> int:
    for line in (_PROC / str(process) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
