"""User instructions per operation, counted by callgrind (https://valgrind.org/docs/manual/cl-manual.html).

CPU time on a shared machine differs by a quarter from one minute to the next; instructions repeat within 2 %. They
leave out the kernel's work, which is much the same for all proxies, and what caches and branch prediction cost. A proxy
runs some fifty times slower meanwhile, so all other numbers of such a run are meaningless.

What the proxy executes at rest in the same time (health checks, heartbeats) is subtracted.
"""

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.load import ours
from bench.measure import Proxy, Sample
from bench.proc import tree
from bench.process import BenchError

START_TIMEOUT = 180.0
"""Seconds a proxy may take to listen: starting an interpreter takes long this way."""
_TOTAL = re.compile(r"^totals: (\d+)", re.MULTILINE)


def under_callgrind(command: Sequence[str], folder: Path) -> list[str]:
    """Return the command that runs ``command`` and its children under callgrind, not counting yet."""
    return [
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        "--trace-children=yes",
        "--instr-atstart=no",
        f"--callgrind-out-file={folder}/callgrind.%p",
        *command,
    ]


def instructions(proxy: Proxy, folder: Path, seconds: float) -> Sample:
    """Count instructions per operation under load, without those at rest."""
    with ours(proxy.spec, folder) as generator:
        generator.run(seconds)
        _count(proxy)
        began = time.monotonic()
        result = generator.run(seconds)
        spent, passed = _counted(proxy), time.monotonic() - began
        _count(proxy)  # at rest: afterwards, as a proxy may still be starting when it begins to listen
        began = time.monotonic()
        time.sleep(seconds)
        spent -= _counted(proxy) * passed / (time.monotonic() - began)
    if not result.operations:
        raise BenchError("no operation was completed: use more --seconds")
    return {"instructions": spent / result.operations}


def _count(proxy: Proxy) -> None:
    """Begin to count, from zero."""
    for pid in tree(proxy.pid):
        _control(pid, "-z")
        _control(pid, "-i", "on")


def _counted(proxy: Proxy) -> float:
    """Stop counting, and return the instructions since ``_count`` of all processes."""
    for pid in tree(proxy.pid):
        _control(pid, "-i", "off")
    total = 0.0
    for pid in tree(proxy.pid):
        _control(pid, "-d")
        written = sorted(proxy.site.folder.glob(f"callgrind.{pid}.*"), key=lambda path: int(path.suffix[1:]))
        found = _TOTAL.search(written[-1].read_text()) if written else None
        if found is None:
            raise BenchError(f"callgrind wrote no total for process {pid}")
        total += int(found[1])
    return total


def _control(pid: int, *words: str) -> None:
    done = subprocess.run(["callgrind_control", *words, str(pid)], capture_output=True, text=True, check=False)
    if done.returncode or "Error" in done.stdout:
        raise BenchError(f"callgrind_control {' '.join(words)} failed: {done.stdout.strip()} {done.stderr.strip()}")
