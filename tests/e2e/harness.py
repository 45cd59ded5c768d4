"""The real command as a child process: a configuration from arguments, its log lines as they come, a clean end."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from wire import PATIENCE, Peer, end_with_parent

COMMAND = [sys.executable, "-m", "balancer", "--config"]
SECRET = "secret-"
"""Every token in these tests begins so, and nothing the daemon writes may hold it."""
ACCEPTS = re.compile(r'listener "([^"]+)" accepts on (\S+)')


def toml(value):
    """A value in TOML; all tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, default=str)


def pool(*backends, name="ide", **keys):
    """A ``[[pool]]`` of backends, given as their addresses."""
    members = [{"name": f"host-{n}", "address": str(address)} for n, address in enumerate(backends)]
    return {"name": name, **keys, "backend": members}


def listener(name="web", bind=("127.0.0.1:0",), **keys):
    """A ``[[listener]]``, on a port the system chooses."""
    goal = {} if "redirect" in keys else {"pool": "ide"}
    return {"name": name, "bind": list(bind), **goal, **keys}


class Output:
    """Lines of a stream of the daemon, read by a thread as they come."""

    def __init__(self, stream):
        self.lines = []
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=[stream])
        self._thread.start()

    def _read(self, stream):
        with stream:
            for line in stream:
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, wanted):
        """The first line for which ``wanted`` is true."""
        with self._news:
            self._news.wait_for(lambda: self._ended or any(map(wanted, self.lines)), PATIENCE)
            found = [line for line in self.lines if wanted(line)]
        assert found, f"no such line; the last are:\n{''.join(self.lines[-5:])}"
        return found[0]

    def join(self):
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the stream is still open: something was left behind"

    def __str__(self):
        return "".join(self.lines)


class Daemon:
    """``balancer --config FILE``, a context manager: accepting inside, ended after."""

    def __init__(self, folder: Path, *, listeners=None, stdout=subprocess.PIPE, **sections):
        config = {"workers": 1, "listener": listeners or [listener()], **sections}
        config["timeouts"] = {"drain": "1h", **sections.get("timeouts", {})}
        self._config = config
        self._file = folder / "balancer.toml"
        self.configure()
        self.process = subprocess.Popen(
            [*COMMAND, str(self._file)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self.stderr = Output(self.process.stderr)
        self.stdout = Output(self.process.stdout) if self.process.stdout else None
        self._listeners = config["listener"]
        self.ports = {each["name"]: [] for each in self._listeners}

    def __enter__(self):
        wanted = sum(len(each["bind"]) for each in self._listeners)
        try:
            self.stderr.wait_for(lambda _: len(self._accepting()) == wanted)
        except AssertionError:
            self.__exit__(AssertionError)
            raise
        for name, address in self._accepting():
            self.ports[name].append(int(address.rpartition(":")[2]))
        return self

    def __exit__(self, kind=None, *_):
        try:
            if kind is None and self.process.poll() is None:
                self.stop()
        finally:
            self.process.kill()
            self.process.wait()
            for pid in of_session(self.process.pid):  # workers drain when their supervisor is gone
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.stderr.join()
            if self.stdout:
                self.stdout.join()

    def configure(self, **sections):
        """Write the file, with these sections for those it had; a reload activates them."""
        self._config |= sections
        self._file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in self._config.items()))

    def _accepting(self):
        return ACCEPTS.findall(str(self.stderr))

    def connect(self, name="web", tls=None, server_name=None, nth=0, host="127.0.0.1"):
        """A client connection to a listener; over TLS with the client context ``tls``."""
        sock = socket.create_connection((host, self.ports[name][nth]), PATIENCE)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=server_name, suppress_ragged_eofs=False)
        return Peer(sock)

    def logged(self, **wanted):
        """The access-log line whose fields have these values, once it is there."""

        def fits(line):
            entry = json.loads(line)
            return all(entry[key] == value for key, value in wanted.items())

        return json.loads(self.stdout.wait_for(fits))

    @contextlib.contextmanager
    def bounded(self, growth=32 << 20):
        """Inside, the daemon's memory grows by so many bytes at most, all its processes together."""
        pids = [self.process.pid, *_descendants(self.process.pid)]
        before = sum(_resident(pid, "VmRSS") for pid in pids)
        for pid in pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
        yield
        grown = sum(_resident(pid, "VmHWM") for pid in pids) - before
        assert grown < growth, f"it grew by {grown >> 20} MiB"

    def check(self):
        """Nothing crashed so far, or was left open (with ``PYTHONDEVMODE=1``)."""
        for word in ("Traceback", "ResourceWarning"):
            assert word not in str(self.stderr), f"the daemon's errors:\n{self.stderr}"

    def stop(self, signals=1):
        """SIGTERM, so many times. It must end well, without waiting for the drain, and leave nothing behind."""
        for _ in range(signals):
            self.process.send_signal(signal.SIGTERM)
        code = self.ended()
        self.stderr.join()
        self.check()
        assert code == 0, f"it ended with {code}:\n{self.stderr}"
        written = str(self.stderr)
        if self.stdout:
            self.stdout.join()
            written += str(self.stdout)
        leaks = [line for line in written.splitlines() if SECRET in line]
        assert not leaks, f"a token was written: {leaks}"
        assert not of_session(self.process.pid), "a child process was left behind"

    def ended(self):
        """Its exit code, once it has ended: if it is told to, it waits for open connections only."""
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def nothing_free(pid):
    """The process can open nothing, not even in place of what it closes."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def of_session(leader):
    """Processes of the session that ``leader`` began."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def _resident(pid, what):
    return int(re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def children(pid):
    """Processes that it has started, whichever of its threads did: of the daemon, control and the workers."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in lists for child in children.read_text().split()]


def _descendants(pid):
    return [each for child in children(pid) for each in (child, *_descendants(child))]
