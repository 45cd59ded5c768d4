"""Measure the CPU time of health checks as a share of one core.

A prober in this process probes a few servers that stand for all backends. Target: less than 25 % for 500 backends with
an interval of 2 s. The CPU time is that of this process, including the kernel's work for its sockets, without the first
round, in which all backends are probed at once.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import trio

from balancer.config.contents import NamedFiles
from balancer.config.listener import ListenerConfig
from balancer.config.model import Config
from balancer.config.pool import BackendConfig, HealthConfig, PoolConfig, RingConfig
from balancer.config.scalars import Address
from balancer.control.active_config import ActiveConfig
from balancer.control.events import Events
from balancer.control.outlier_monitor import OutlierMonitor
from balancer.control.pools import Pools
from balancer.control.prober import Prober
from balancer.control.worker_registry import WorkerRegistry
from balancer.store.journal import Journal
from bench.backends import backends

_TARGET = 25.0
_KINDS = ("tcp", "http", "websocket")
_SERVERS = 3


def main() -> int:
    """Print the table; return 1 if the target is missed."""
    parser = argparse.ArgumentParser("python -m bench.probes", description=__doc__)
    parser.add_argument("--backends", type=int, default=500, metavar="N", help="size of the pool (500)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of a run (10)")
    args = parser.parse_args()
    missed = False
    print(f"{'':10}{'probes/s':>10}{'us a probe':>12}{'of a core':>11}{'failed':>8}")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, backends(Path(folder), _SERVERS, small=False) as ports:
        for kind in _KINDS:
            settings = _config(kind, args.backends, ports)
            probes, failed, seconds, spent = trio.run(_measure, settings, args.seconds)
            share = 100 * spent / seconds
            missed |= share > _TARGET or bool(failed)
            each = 1e6 * spent / probes
            print(f"{kind:10}{probes / seconds:>10.0f}{each:>12.0f}{share:>9.1f} %{failed:>8}", flush=True)
    print(f"\ntarget {'missed' if missed else 'met'}: at most {_TARGET:g} % of a core, no probe failed")
    return 1 if missed else 0


def _config(kind: str, count: int, ports: list[int]) -> Config:
    health = HealthConfig.model_validate({"type": kind, "path": "/", "interval": "2s"})
    hosts = tuple(
        BackendConfig(name=f"ide-{number:03}", address=Address("127.0.0.1", ports[number % len(ports)]))
        for number in range(count)
    )
    pool = PoolConfig(name="ide", ring=RingConfig(points=1), health=health, backend=hosts)
    return Config(listener=(ListenerConfig(name="ide", bind=(Address("127.0.0.1"),), pool="ide"),), pool=(pool,))


async def _measure(config: Config, seconds: float) -> tuple[int, int, float, float]:
    """Number of probes, number of failed ones, elapsed seconds, and seconds of CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        events = Events(time.time)
        pools = Pools(config, Journal(Path(folder)), time.time)
        active = ActiveConfig(1, time.time(), config, NamedFiles(), {}, {}, 0, "info")
        registry = WorkerRegistry(pools.states, active, b"", {})
        monitor = OutlierMonitor(pools, registry, events)
        async with trio.open_nursery() as nursery:
            await nursery.start(Prober(pools, registry, monitor, events, None, Random()).run)
            checks = pools.get("ide").checks.values()
            before = sum(each.passed + each.failed for each in checks)
            clock, processor = time.perf_counter(), time.process_time()
            await trio.sleep(seconds)
            clock, processor = time.perf_counter() - clock, time.process_time() - processor
            after = sum(each.passed + each.failed for each in checks)
            nursery.cancel_scope.cancel()
        return after - before, sum(each.failed for each in checks), clock, processor


if __name__ == "__main__":
    sys.exit(main())
