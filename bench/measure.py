"""What is measured of a proxy, for each sort of scenario."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.load import Aim, load, ours
from bench.messages import BULK
from bench.peers.peer import Peer, Site
from bench.proc import memory, processor_time, spent_since
from bench.process import BenchError

WARM_UP = 0.5
"""Seconds of load that nobody counts before a proxy's every run, at most as long as the run."""
_COPIES = 2
"""Downloads at a time that a quiet user has beside him."""
_TURNS = 10
"""Of messages through the proxy, and of those without it."""
_SPARE = 500
"""Descriptors a program needs for everything but its connections."""

Sample = dict[str, float]
"""One run of one proxy: numbers by name, see ``bench.columns``."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that listens."""

    peer: Peer
    site: Site
    pid: int
    """Its process tree begins here."""
    fresh: int
    """Bytes of memory held before anybody had connected."""
    aim: Aim


Measure = Callable[[Proxy, Path, float], Sample]
"""Load a proxy for so many seconds, with a folder for files. Raises ``BenchError`` if anything went wrong."""


def throughput(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """As many operations as possible. Processor time, user and system, is that of the proxy per operation."""
    sample, _ = _loaded(proxy, folder, seconds)
    return sample


def capacity(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """The same, with the operations that it would do if its busiest thread had a processor for itself.

    Where load, backends and proxy share two processors, operations per second say little of what a second worker is
    good for. Operations per second of the busiest thread's processor time say how much work the workers would do
    that always run, so how evenly connections are spread over them, and what it costs them to work together. They say
    nothing of a proxy whose work moves from thread to thread.
    """
    sample, busiest = _loaded(proxy, folder, seconds)
    return {**sample, "capacity_per_second": busiest}


def beyond_rest(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """The same, with what operations cost beyond what the proxy spends anyway: on health checks, timers, counting."""
    before, began = processor_time(proxy.pid), time.perf_counter()
    time.sleep(seconds)
    rest = sum(spent_since(before, proxy.pid)) / 1e9 / (time.perf_counter() - began)
    sample, _ = _loaded(proxy, folder, seconds)
    return {
        **sample,
        "idle_cpu_percent": rest * 100,
        "marginal_microseconds": sample["cpu_microseconds"] - rest * 1e6 / sample["operations_per_second"],
    }


def _loaded(proxy: Proxy, folder: Path, seconds: float) -> tuple[Sample, float]:
    """The sample, and operations per second of the busiest thread's processor time."""
    with load(proxy.aim, folder) as generator:
        generator.run(min(WARM_UP, seconds))
        before = processor_time(proxy.pid)
        result = generator.run(seconds)
        spent = spent_since(before, proxy.pid)
    if not result.operations:
        raise BenchError("not one operation was completed: give it more --seconds")
    sample = {
        "operations_per_second": result.operations / result.seconds,
        "cpu_microseconds": sum(spent) / 1000 / result.operations,
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "memory_mebibytes": memory(proxy.pid) / 2**20,
    }
    return sample, result.operations * 1e9 / max(spent)


def idle(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Connections that say nothing; fewer than wished for if the limit of descriptors is low. All must live after it.

    Memory is what the proxy has grown by since it was started: the kernel's for its sockets is not in it.
    """
    connections = affordable(proxy.aim.connections)
    with ours(replace(proxy.aim, connections=connections), folder) as clients:
        time.sleep(min(WARM_UP, seconds))
        before, began = processor_time(proxy.pid), time.perf_counter()
        time.sleep(seconds)
        passed, spent = time.perf_counter() - began, sum(spent_since(before, proxy.pid))
        held = memory(proxy.pid)
        clients.run(0)
    return {
        "connections": connections,
        "kibibytes_per_connection": (held - proxy.fresh) / 1024 / connections,
        "idle_cpu_percent": spent / 1e7 / passed,
        "memory_mebibytes": held / 2**20,
    }


def fairness(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """How long quiet users wait while others copy as fast as they can."""
    warm_up = min(WARM_UP, seconds)
    copying = replace(proxy.aim, kind="download", connections=_COPIES)
    with ours(copying, folder) as copies, ours(proxy.aim, folder) as clients:
        copies.begin(warm_up + seconds)
        clients.run(warm_up)
        result = clients.run(seconds)
        copied = copies.end()
    return {
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "bulk_mebibytes_per_second": copied.operations * BULK / copied.seconds,
        "memory_mebibytes": memory(proxy.pid) / 2**20,
    }


def latency(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """How long a message takes that has the proxy for itself, and how much of that is the proxy's doing.

    The rest is what a client and the backend take without anybody, or TLS, in between; both ways are measured in turns,
    and each number is the median of all turns.
    """
    direct = replace(proxy.aim, port=proxy.site.backends[0], certificate=None)
    with ours(direct, folder) as alone, ours(proxy.aim, folder) as through:
        alone.run(min(WARM_UP, seconds) / 2)
        through.run(min(WARM_UP, seconds) / 2)
        pairs = [(alone.run(seconds / _TURNS / 2), through.run(seconds / _TURNS / 2)) for _ in range(_TURNS)]
    return {
        "added_milliseconds": median(after.p50 - before.p50 for before, after in pairs) * 1000,
        "p50_milliseconds": median(after.p50 for _, after in pairs) * 1000,
        "p99_milliseconds": median(after.p99 for _, after in pairs) * 1000,
        "direct_p50_milliseconds": median(before.p50 for before, _ in pairs) * 1000,
        "memory_mebibytes": memory(proxy.pid) / 2**20,
    }


def tail(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """How long steady requests wait at worst."""
    with ours(proxy.aim, folder) as clients:
        clients.run(min(WARM_UP, seconds))
        result = clients.run(seconds)
    return {
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "longest_milliseconds": result.longest * 1000,
        "reconnects": result.reconnects,
        "memory_mebibytes": memory(proxy.pid) / 2**20,
    }


def affordable(connections: int) -> int:
    """So many, or what the limit of descriptors leaves: a proxy needs two for each."""
    return min(connections, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE) // 2)
