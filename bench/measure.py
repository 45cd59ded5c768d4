"""What a proxy costs: processor time and memory of its whole process tree, read from /proc (proc(5)).

``schedstat`` counts nanoseconds where ``stat`` counts ticks of 10 ms. It belongs to a thread, so those of all threads
are added up. The kernel's work on loopback packets is charged to whoever sends them, for every proxy alike.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.load import Aim, load
from bench.process import BenchError

_PROC = Path("/proc")

WARM_UP = 0.5
"""Seconds of load that nobody counts before a proxy's every run, at most as long as the run."""

Sample = dict[str, float]
"""One run of one proxy: numbers by name, each with its unit."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that listens."""

    pid: int
    """Its process tree begins here."""
    fresh: int
    """Bytes resident before anybody had connected."""


Measure = Callable[[Proxy, Aim, Path, float], Sample]
"""Load a proxy for so many seconds, with a folder for files. Raises ``BenchError`` if anything went wrong."""


def throughput(proxy: Proxy, aim: Aim, folder: Path, seconds: float) -> Sample:
    """As many operations as possible. Processor time, user and system, is that of the proxy per operation."""
    with load(aim, folder) as generator:
        generator.run(min(WARM_UP, seconds))
        before = _cpu(proxy.pid)
        result = generator.run(seconds)
        spent = _since(before, proxy.pid)
    if not result.operations:
        raise BenchError("not one operation was completed: give it more --seconds")
    return {
        "operations_per_second": result.operations / result.seconds,
        "cpu_microseconds": spent / 1000 / result.operations,
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "rss_mebibytes": resident(proxy.pid) / 2**20,
    }


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


def _since(before: dict[int, dict[str, int]], root: int) -> int:
    """Nanoseconds on a processor since then."""
    after = _cpu(root)
    if not before.keys() <= after.keys():
        raise BenchError("a process of the proxy ended during the run")
    return sum(
        nanoseconds - before.get(process, {}).get(thread, 0)
        for process, threads in after.items()
        for thread, nanoseconds in threads.items()
    )


def resident(root: int) -> int:
    """Bytes of memory resident now, summed over processes."""
    return sum(map(_rss, tree(root)))


def _rss(process: int) -> int:
    for line in (_PROC / str(process) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
