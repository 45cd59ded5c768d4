"""``python -m bench.scrape``: how long a scrape of /metrics takes, and what it costs.

The daemon as it is, with health checks and without traffic, is scraped through its Unix socket. The target: with 500
backends and 4 workers, less than 100 ms, most of the time. Processor time is that of all its processes, with what they
do beside it.
"""

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from bench.backends import backends
from bench.peers.asking import PATIENCE, converse
from bench.proc import processor_time, spent_since
from bench.process import BenchError, free_ports, server

_TARGET = 100.0
_PAUSE = 0.2
"""Seconds between two scrapes."""
_QUESTION = b"GET /metrics HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n"
_COUNTED = b"balancer_ring_share_ratio{"
"""What is there once the daemon has counted everything."""
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
    """Print the table; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser("python -m bench.scrape", description=__doc__)
    parser.add_argument("--backends", type=int, default=500, metavar="N", help="size of the pool (500)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="processes that carry traffic (4)")
    parser.add_argument("--scrapes", type=int, default=20, metavar="N", help="how many (20)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with backends(folder, args.backends, small=True) as ports:
            times, spent, size = _measure(folder, ports, args.workers, args.scrapes)
    print(f"{args.scrapes} scrapes of {size / 1024:.0f} KiB: {args.backends} backends, {args.workers} workers\n")
    print(f"{'ms':16}{'median':>10}{'max':>10}")
    for what, numbers in (("until answered", times), ("of a processor", spent)):
        print(f"{what:16}{median(numbers):>10.1f}{max(numbers):>10.1f}")
    met = median(times) < _TARGET
    print(f"\ntarget {'met' if met else 'missed'}: less than {_TARGET:g} ms until answered, in the median")
    return 0 if met else 1


def _measure(folder: Path, ports: list[int], workers: int, scrapes: int) -> tuple[list[float], list[float], int]:
    """Milliseconds of each scrape, by the clock and of processors, and the bytes of the last."""
    [port] = free_ports(1)
    socket, file = folder / "admin.sock", folder / "balancer.toml"
    pools = "".join(_BACKEND.format(number=number, port=each) for number, each in enumerate(ports))
    file.write_text(_CONFIGURATION.format(workers=workers, socket=socket, port=port) + pools)
    times, spent, text = [], [], b""
    with server("balancer", [sys.executable, "-m", "balancer", "--config", str(file)], folder, [port]) as pid:
        deadline = time.monotonic() + PATIENCE
        while _COUNTED not in text:
            if time.monotonic() > deadline:
                raise BenchError("the daemon does not tell of its ring")
            time.sleep(_PAUSE)
            with suppress(OSError):  # the admin API is not there yet
                text = converse(socket, _QUESTION)
        for _ in range(scrapes):
            time.sleep(_PAUSE)
            before, began = processor_time(pid), time.perf_counter()
            text = converse(socket, _QUESTION)
            times.append(1000 * (time.perf_counter() - began))
            spent.append(sum(spent_since(before, pid)) / 1e6)
    return times, spent, len(text)


if __name__ == "__main__":
    sys.exit(main())
