"""Child processes of a benchmark: start them, wait until they listen, always stop them."""

import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_TIMEOUT = 20.0
"""Seconds a server may take until it listens."""
STOP_TIMEOUT = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class BenchError(Exception):
    """The benchmark has no comparable numbers; the message says why."""


def free_ports(count: int) -> list[int]:
    """Return different free ports of 127.0.0.1, outside of the range that the system assigns to clients."""
    clients_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    untried = iter(random.sample(range(clients_from // 2, clients_from), clients_from // 2))
    return [next(port for port in untried if _free(port)) for _ in range(count)]


@contextmanager
def server(
    name: str, command: Sequence[str], folder: Path, ports: Sequence[int], timeout: float = START_TIMEOUT
) -> Iterator[int]:
    """Run ``command`` until the block ends; yield its process id once it listens on all of ``ports``.

    Its output goes to ``NAME.log`` in ``folder``. Raises ``BenchError``, with the end of that log, if it does not
    listen in time or ends before the block.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + timeout
        for port in ports:
            while not _listens(port):
                if child.poll() is not None or time.monotonic() > deadline:
                    raise BenchError(f"{name} does not listen on port {port}:\n{tail(log)}")
                time.sleep(0.02)
        try:
            yield child.pid
        finally:  # replaces any other error, which is a consequence of this one
            if child.poll() is not None:
                raise BenchError(f"{name} ended during the benchmark with code {child.returncode}:\n{tail(log)}")
    finally:
        stop(child)


def stop(child: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """Terminate the process; kill it if it does not end in time."""
    child.terminate()
    try:
        child.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    lines = log.read_text(errors="replace").splitlines()[-8:]
    return "\n".join(f"  {line}" for line in lines) or "  (it printed nothing)"


def _free(port: int) -> bool:
    with socket.socket() as sock, suppress(OSError):
        sock.bind(("127.0.0.1", port))
        return True
    return False


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
