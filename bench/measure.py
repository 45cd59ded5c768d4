"""What is measured of a proxy, for each sort of scenario."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Aim, load, ours
from bench.messages import BULK
from bench.proc import processor_time, resident, spent_since
from bench.process import BenchError

WARM_UP = 0.5
"""Seconds of load that nobody counts before a proxy's every run, at most as long as the run."""
_COPIES = 2
"""Downloads at a time that a quiet user has beside him."""
_SPARE = 500
"""Descriptors a program needs for everything but its connections."""

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
        before = processor_time(proxy.pid)
        result = generator.run(seconds)
        spent = spent_since(before, proxy.pid)
    if not result.operations:
        raise BenchError("not one operation was completed: give it more --seconds")
    return {
        "operations_per_second": result.operations / result.seconds,
        "cpu_microseconds": spent / 1000 / result.operations,
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "rss_mebibytes": resident(proxy.pid) / 2**20,
    }


def idle(proxy: Proxy, aim: Aim, folder: Path, seconds: float) -> Sample:
    """Connections that say nothing; fewer than wished for if the limit of descriptors is low. All must live after it.

    Memory is what the proxy has grown by since it was started: the kernel's for its sockets is not in it.
    """
    connections = min(aim.connections, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE) // 2)
    with ours(replace(aim, connections=connections), folder) as clients:
        time.sleep(min(WARM_UP, seconds))
        before, began = processor_time(proxy.pid), time.perf_counter()
        time.sleep(seconds)
        passed, spent = time.perf_counter() - began, spent_since(before, proxy.pid)
        memory = resident(proxy.pid)
        clients.run(0)
    return {
        "connections": connections,
        "kibibytes_per_connection": (memory - proxy.fresh) / 1024 / connections,
        "idle_cpu_percent": spent / 1e7 / passed,
        "rss_mebibytes": memory / 2**20,
    }


def fairness(proxy: Proxy, aim: Aim, folder: Path, seconds: float) -> Sample:
    """How long quiet users wait while others copy as fast as they can."""
    warm_up = min(WARM_UP, seconds)
    copying = replace(aim, kind="download", connections=_COPIES)
    with ours(copying, folder) as copies, ours(aim, folder) as clients:
        copies.begin(warm_up + seconds)
        clients.run(warm_up)
        result = clients.run(seconds)
        copied = copies.end()
    return {
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "bulk_mebibytes_per_second": copied.operations * BULK / copied.seconds,
        "rss_mebibytes": resident(proxy.pid) / 2**20,
    }
