"""The world of a chaos run: hosts as processes, the daemon as the real command, and the book of what went wrong.

Everything is seen from outside: bytes on sockets, the admin socket, and ``/proc`` of the daemon's whole process tree.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from authority import Authority
from harness import Daemon, listener, pool
from wire import free_port

HERE = Path(__file__).parent
AFTERMATH = 4.0
"""Seconds after a start or SIGCONT in which the daemon may hold a host for down, and end what is there."""

PATIENCE = 20.0
"""Seconds after which a daemon that has lost a process should have another."""


class Refused(Exception):
    """An answer of the admin API that is no yes."""


class Host:
    """An IDE host at a port that stays its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.trouble = ""
        """What is being done to it just now."""
        self.start()
        self.continued = -AFTERMATH
        """When it was last started again, or set going after a stop."""

    def start(self) -> None:
        command = [sys.executable, str(HERE / "chaos_host.py"), self.name, str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"accepts\n"
        self.continued = time.monotonic()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)
        if number == signal.SIGCONT:
            self.continued = time.monotonic()

    def lost(self, pid: int) -> bool:
        """Was what ran there as ``pid`` killed, or did it stand still so that the daemon may have given it up?"""
        ours = pid == self.process.pid and self.process.poll() is None
        return not ours or self.trouble == "stopped" or time.monotonic() < self.continued + AFTERMATH


@dataclass
class Ledger:
    """What happened, and what should not have."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    """Seconds from the end of a tunnel to the hello of the next of the same tab."""

    def violated(self, what: str) -> None:
        self.violations.append(f"{time.monotonic():.3f} {what}")


class World:
    """A context manager: hosts and daemon run inside. ``keys`` are those of the pool, ``settings`` further sections."""

    def __init__(self, folder: Path, hosts: int, seed: int, keys: dict[str, object], **settings: object) -> None:
        self.random = Random(seed)
        self.ledger = Ledger()
        self._folder = folder
        self._count = hosts
        self._keys = keys
        self.settings = settings
        self._stack = ExitStack()
        self._socket = str(folder / "admin.sock")
        self.authority = Authority(folder)
        self.trust = self.authority.client()
        """With it clients of the port ``secure`` are content."""
        self.cut: set[int] = set()
        """Ports of clients whose connection was the business of a worker that has been killed."""
        self.disturbed = 0.0
        """Until when processes of the daemon stand still, or are not there, and for a moment after."""

    def __enter__(self) -> "World":
        with ExitStack() as stack:
            self.hosts = [Host(f"host-{n}") for n in range(self._count)]
            for host in self.hosts:
                stack.callback(host.kill)
            stack.enter_context(self.start_daemon())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        for host in self.hosts:
            if host.trouble == "stopped":
                host.signal(signal.SIGCONT)
        self._stack.__exit__(*exc)  # type: ignore[arg-type]

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self.daemon.ports["web"][0]

    @property
    def secure(self) -> int:
        """Where clients connect that speak TLS."""
        return self.daemon.ports["secure"][0]

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def start_daemon(self) -> Daemon:
        """The daemon, or the next one on the same state."""
        self.authority.issue("ide.example")
        config = {
            "listeners": self.listeners(),
            "pool": [self.pool()],
            "admin": {"socket": self._socket},
            "state_dir": str(self._folder / "state"),
        }
        self.daemon = Daemon(self._folder, **config, **self.settings)
        return self.daemon

    def listeners(self) -> list[dict[str, object]]:
        """One without TLS and one with it."""
        files = {"cert": str(self._folder / "ide.example.crt"), "key": str(self._folder / "ide.example.key")}
        return [listener(), listener("secure", tls={"certificates": [files]})]

    def pool(self, hosts: Sequence[Host] | None = None, **keys: object) -> dict[str, object]:
        """The pool of all hosts, or of these, with such keys in its file."""
        addresses = (f"127.0.0.1:{host.port}" for host in hosts or self.hosts)
        return pool(*addresses, linger="1s", **{**self._keys, **keys})

    def generation(self) -> int:
        """Of the active configuration."""
        return json.loads(self.ask("GET", "/v1/config"))["generation"]

    def processes(self, kind: str) -> list[int]:
        """Those of the daemon that are a ``worker``, or ``control``."""
        return [pid for pid in tree(self.daemon.process.pid) if f"balancer.daemon.{kind}" in _command(pid)]

    def cut_off(self, pid: int) -> None:
        """Kill a worker, and note whose connections it had."""
        os.kill(pid, signal.SIGSTOP)  # it takes no more
        self.cut |= self.served_by(pid)
        os.kill(pid, signal.SIGKILL)

    def served_by(self, pid: int) -> set[int]:
        """Ports of the clients whose connections a worker holds (proc_net(5))."""
        held = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        found = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, ours, theirs, *_, inode = line.split()[:10]
            if int(ours[-4:], 16) in (self.port, self.secure) and f"socket:[{inode}]" in held:
                found.add(int(theirs[-4:], 16))
        return found

    def whole(self) -> None:
        """Back when operators are answered and all workers are at work."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(OSError, http.client.HTTPException):
                status = json.loads(self.ask("GET", "/v1/status"))
                pids = {each["pid"] for each in status["workers"] if each["agrees"]}
                if pids == set(self.processes("worker")) and len(pids) == self.settings.get("workers", 1):
                    return
            time.sleep(0.05)
        self.ledger.violated(f"the daemon is not whole again after {PATIENCE:g} s")

    def admin(self, method: str, path: str, body: object = None) -> dict:
        """A request about the pool to the admin API; what it answers."""
        return json.loads(self.ask(method, f"/v1/pools/ide{path}", body))

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        """A request to the admin API; what it answers."""
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20)
        try:
            connection.sock.connect(self._socket)
            connection.request(method, path, json.dumps(body))
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise Refused(f"{method} {path}: {answer.decode()}")
        return answer

    def footprint(self) -> tuple[int, int]:
        """Descriptors and resident bytes of the daemon's processes together."""
        descriptors = memory = 0
        for pid in tree(self.daemon.process.pid):
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            memory += pages * os.sysconf("SC_PAGE_SIZE")
        return descriptors, memory


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    with suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
