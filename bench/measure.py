"""The measurements of a proxy, one for each sort of scenario."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.load import LoadSpec, load, ours
from bench.messages import BULK
from bench.peers.peer import Peer, Site
from bench.proc import memory, processor_time, spent_since
from bench.process import BenchError

WARM_UP = 0.5
"""Seconds of load before each run that are not counted, at most as long as the run."""
_DOWNLOADS = 2
"""Concurrent downloads beside quiet clients."""
_ARRIVALS = 100
"""Clients that connect again and again."""
_TURNS = 10
"""Alternations between messages through the proxy and without it."""
_SPARE_DESCRIPTORS = 500
"""Descriptors that a program needs besides its connections."""

Sample = dict[str, float]
"""The numbers of one run of one proxy by name, see ``bench.columns``."""


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    peer: Peer
    site: Site
    pid: int
    """Root of its process tree."""
    fresh: int
    """Bytes of memory before the first connection."""
    spec: LoadSpec


Measure = Callable[[Proxy, Path, float], Sample]
"""Measures a proxy for a number of seconds, with a directory for files. Raises ``BenchError`` at any error."""


def throughput(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Measure as many operations as possible, and the proxy's CPU time (user and system) per operation."""
    sample, _ = _loaded(proxy, folder, seconds)
    return sample


def capacity(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Measure throughput, and the operations per second of the busiest thread's CPU time.

    Where load, backends and proxy share two processors, operations per second do not show the benefit of a second
    worker. Operations per second of the busiest thread's CPU time are those of workers that run all the time: they show
    how evenly connections are distributed, and what sharing costs. They are meaningless for a proxy whose work moves
    between threads.
    """
    sample, busiest = _loaded(proxy, folder, seconds)
    return {**sample, "capacity_per_second": busiest}


def beyond_rest(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Measure throughput, and CPU time per operation beyond what the idle proxy uses for health checks and timers."""
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
    """The sample, and operations per second of the busiest thread's CPU time."""
    with load(proxy.spec, folder) as generator:
        generator.run(min(WARM_UP, seconds))
        before = processor_time(proxy.pid)
        result = generator.run(seconds)
        spent = spent_since(before, proxy.pid)
    if not result.operations:
        raise BenchError("no operation was completed: use more --seconds")
    sample = {
        "operations_per_second": result.operations / result.seconds,
        "cpu_microseconds": sum(spent) / 1000 / result.operations,
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "memory_mebibytes": memory(proxy.pid) / 2**20,
    }
    return sample, result.operations * 1e9 / max(spent)


def idle(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Measure memory and CPU of idle connections, all of which must still be open afterwards.

    There may be fewer than configured if the limit of descriptors is low. Memory is the growth of the proxy since its
    start, without the kernel's memory for sockets.
    """
    connections = affordable(proxy.spec.connections)
    with ours(replace(proxy.spec, connections=connections), folder) as clients:
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
    """Measure the latency of quiet clients while others download as fast as they can."""
    warm_up = min(WARM_UP, seconds)
    copying = replace(proxy.spec, kind="download", connections=_DOWNLOADS)
    with ours(copying, folder) as copies, ours(proxy.spec, folder) as clients:
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


def storm(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Measure the latency of open WebSockets while others connect again at a fixed rate, as after a failure."""
    warm_up = min(WARM_UP, seconds)
    arriving = replace(proxy.spec, kind="storm", connections=_ARRIVALS)
    with ours(arriving, folder) as arrivals, ours(proxy.spec, folder) as clients:
        arrivals.begin(warm_up + seconds)
        clients.run(warm_up)
        result = clients.run(seconds)
        arrivals.end()
    return {
        "p50_milliseconds": result.p50 * 1000,
        "p99_milliseconds": result.p99 * 1000,
        "longest_milliseconds": result.longest * 1000,
        "memory_mebibytes": memory(proxy.pid) / 2**20,
    }


def latency(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Measure the latency of messages through an otherwise idle proxy, and the part that the proxy adds.

    The other part is that of a direct connection to the backend without TLS. Both are measured alternately; each number
    is the median of all turns.
    """
    direct = replace(proxy.spec, port=proxy.site.backends[0], certificate=None)
    with ours(direct, folder) as alone, ours(proxy.spec, folder) as through:
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
    """Measure the latencies of requests at a fixed rate."""
    with ours(proxy.spec, folder) as clients:
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
    """Return ``connections``, or as many as the limit of descriptors allows: a proxy needs two for each."""
    return min(connections, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_DESCRIPTORS) // 2)
