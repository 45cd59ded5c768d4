"""Measure the duration and CPU time of a scrape of /metrics.

The real daemon, with health checks and without traffic, is scraped through its Unix socket. Target: a median of less
than 100 ms with 500 backends and 4 workers. The CPU time is that of all its processes, including their other work.
"""

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from bench.backends import backends
from bench.peers.requests import ANSWER_TIMEOUT, exchange
from bench.proc import processor_time, spent_since
from bench.process import BenchError, free_ports, server

_TARGET = 100.0
_PAUSE = 0.2
"""Seconds between two scrapes."""
_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n"
_READY_METRIC = b"balancer_ring_share_ratio{"
"""A metric that appears once the daemon is ready."""
_CONFIGURATION = """
workers = {workers}
admin = {{ socket = "{socket}" }}
log = {{ access = "off", level = "warning" }}
listener = [{{ name = "web", bind = ["127.0.0.1:{port}"], pool = "ide" }}]
[[pool]]
name = "ide"
health = {{ type = "http", path = "/", interval = "10s" }}
"""
_BACKEND = """
[[pool.backend]]
name = "ide-{number:03}"
address = "127.0.0.1:{port}"
"""


def main() -> int:
    """Print the table; return 1 if the target is missed."""
    parser = argparse.ArgumentParser("python -m bench.scrape", description=__doc__)
    parser.add_argument("--backends", type=int, default=500, metavar="N", help="size of the pool (500)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="worker processes (4)")
    parser.add_argument("--scrapes", type=int, default=20, metavar="N", help="number of scrapes (20)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with backends(folder, args.backends, small=True) as ports:
            times, spent, size = _measure(folder, ports, args.workers, args.scrapes)
    print(f"{args.scrapes} scrapes of {size / 1024:.0f} KiB: {args.backends} backends, {args.workers} workers\n")
    print(f"{'ms':16}{'median':>10}{'max':>10}")
    for title, numbers in (("duration", times), ("CPU time", spent)):
        print(f"{title:16}{median(numbers):>10.1f}{max(numbers):>10.1f}")
    met = median(times) < _TARGET
    print(f"\ntarget {'met' if met else 'missed'}: a median duration of less than {_TARGET:g} ms")
    return 0 if met else 1


def _measure(folder: Path, ports: list[int], workers: int, scrapes: int) -> tuple[list[float], list[float], int]:
    """Duration and CPU time of each scrape in milliseconds, and the size of the last in bytes."""
    [port] = free_ports(1)
    socket, file = folder / "admin.sock", folder / "balancer.toml"
    pools = "".join(_BACKEND.format(number=number, port=each) for number, each in enumerate(ports))
    file.write_text(_CONFIGURATION.format(workers=workers, socket=socket, port=port) + pools)
    times, spent, text = [], [], b""
    with server("balancer", [sys.executable, "-m", "balancer", "--config", str(file)], folder, [port]) as pid:
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while _READY_METRIC not in text:
            if time.monotonic() > deadline:
                raise BenchError("the metrics of the ring have not appeared")
            time.sleep(_PAUSE)
            with suppress(OSError):  # the admin API does not listen yet
                text = exchange(socket, _REQUEST)
        for _ in range(scrapes):
            time.sleep(_PAUSE)
            before, began = processor_time(pid), time.perf_counter()
            text = exchange(socket, _REQUEST)
            times.append(1000 * (time.perf_counter() - began))
            spent.append(sum(spent_since(before, pid)) / 1e6)
    return times, spent, len(text)


if __name__ == "__main__":
    sys.exit(main())
