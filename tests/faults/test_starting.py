"""Processes that cannot be started, or not now: they are tried again, and nobody else is harmed."""

import os
import signal
import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon
from harness import COMMAND, children, nothing_free
from process_rig import Tunnel, served
from wire import Backend, eventually

BOTH = {0, 1}


@pytest.fixture(scope="module")
def hosts():
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Backend())) for _ in NAMES]


class Starting(AdminDaemon):
    """With two workers that are soon held to hang."""

    def __init__(self, folder, hosts):
        super().__init__(folder, hosts, workers=2, timeouts={"drain": "1s", "hang": "2s"})

    def __enter__(self):
        super().__enter__()
        eventually(lambda: set(self.workers()) == BOTH)
        return self

    def workers(self):
        return {each["worker"]: each["pid"] for each in self.get("/v1/status")["workers"]}

    def known(self):
        return {each["name"]: each for each in self.get("/v1/status")["processes"]}

    def replaced(self, name, former):
        """Once another process of this name is there, and both workers."""

        def look():
            try:
                return self.known()[name]["pid"] not in (None, former) and set(self.workers()) == BOTH
            except OSError:  # control is not there yet
                return False

        eventually(look)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    with Starting(tmp_path_factory.mktemp("starting"), hosts) as running:
        yield running


@pytest.mark.parametrize("name", ["worker 1", "control"])
def test_without_descriptors_it_is_tried_again(daemon, hosts, name):
    pid = daemon.known()[name]["pid"]
    with closing(Tunnel(daemon, hosts, "secret-1")) as tunnel:
        while daemon.get("/v1/sessions")["sessions"][0]["session"].startswith("1"):
            tunnel.close()
            tunnel.__init__(daemon, hosts, "secret-1")
        with nothing_free(daemon.process.pid):
            os.kill(pid, signal.SIGKILL)
            daemon.stderr.wait_for(
                lambda line: f"{name} could not be started (Too many open files); restarting it in 0.4 s" in line
            )
            assert tunnel.alive()
        daemon.stderr.wait_for(lambda line: f"{name} restarted" in line)
        daemon.replaced(name, pid)
        assert tunnel.alive()
    served(daemon, hosts)


def test_a_control_that_is_killed_at_the_start_is_started_again(tmp_path, hosts):
    daemon = Starting(tmp_path, hosts)
    (control,) = eventually(
        lambda: [pid for pid in children(daemon.process.pid) if b"balancer.daemon.control" in words_of(pid)]
    )
    os.kill(control, signal.SIGKILL)
    with daemon:
        daemon.stderr.wait_for(lambda line: "control ended (signal SIGKILL); restarting it in 0.1 s" in line)
        served(daemon, hosts)


def words_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def test_a_supervisor_that_was_away_kills_nobody(daemon, hosts):
    before = {name: each["pid"] for name, each in daemon.known().items()}
    with closing(Tunnel(daemon, hosts, "secret-1")) as tunnel:
        os.kill(daemon.process.pid, signal.SIGSTOP)
        time.sleep(5)  # more than twice as long as a worker may be silent: real time, as the kernel measures it
        os.kill(daemon.process.pid, signal.SIGCONT)
        assert tunnel.alive()
        assert tunnel.alive()
    time.sleep(1)
    assert {name: each["pid"] for name, each in daemon.known().items()} == before


class Quota:
    """A cgroup of its own, whose processes get a hundredth of a processor; version 1 or 2 of the interface."""

    def __init__(self, name):
        for folder, period in (("/sys/fs/cgroup/cpu", "cpu.cfs_period_us"), ("/sys/fs/cgroup", "cpu.max")):
            self.path = Path(folder, name)
            try:
                self.path.mkdir()
            except OSError:
                continue
            try:
                if period == "cpu.max":
                    (self.path / period).write_text("2000 1000000")
                else:
                    (self.path / period).write_text("1000000")
                    (self.path / "cpu.cfs_quota_us").write_text("2000")
                return
            except OSError:
                self.path.rmdir()
        pytest.skip("no cgroup can be made here")

    def add(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))

    def close(self):
        parent = self.path.parent / "cgroup.procs"
        for pid in (self.path / "cgroup.procs").read_text().split():
            parent.write_text(pid)
        eventually(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


def test_a_worker_that_gets_hardly_any_processor_is_not_killed(daemon, hosts):
    """Two thousandths of one, and work to do: far too little for a heartbeat within the two seconds of ``hang``."""
    pid = daemon.workers()[1]
    with closing(Quota(f"balancer-test-{os.getpid()}")) as quota:
        quota.add(pid)
        with ExitStack() as stack:
            for _ in range(40):  # keep it busy
                client = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.ports["web"][0])))
                client.send(b"GET / HTTP/1.1\r\n")
            time.sleep(8)  # real time, as the kernel measures it
        assert daemon.known()["worker 1"]["pid"] == pid
    assert f"worker 1 (pid {pid}): no heartbeat" not in str(daemon.stderr)
    eventually(lambda: daemon.workers().get(1) == pid)
    for host in hosts:
        host.forget()
    served(daemon, hosts)


def test_a_worker_that_is_stopped_is_killed_and_the_message_says_for_how_long(daemon, hosts):
    pid = daemon.workers()[1]
    began = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    line = daemon.stderr.wait_for(lambda line: f"worker 1 (pid {pid}): no heartbeat for" in line)
    took = time.monotonic() - began
    said = float(line.partition("no heartbeat for ")[2].split(" s")[0])
    assert 2 <= said <= took + 2, "it may have been slow already, but for less than would have killed it"
    assert line.rstrip().endswith("killing it and restarting it")
    daemon.replaced("worker 1", pid)
    served(daemon, hosts)


def test_eighty_descriptors_are_enough_to_start_and_serve(tmp_path, hosts, monkeypatch):
    shell = ["/bin/sh", "-c", 'ulimit -n 80; exec "$@"', "sh"]
    monkeypatch.setattr("harness.COMMAND", [*shell, *COMMAND])
    with Starting(tmp_path, hosts) as daemon:
        with ExitStack() as stack:
            for _ in range(100):  # more clients than a worker can hold
                stack.enter_context(daemon.connect())
            assert daemon.ask("POST", "/v1/reload", {}).status == 200
            pids = daemon.workers()
            assert set(pids) == BOTH
        for host in hosts:
            host.forget()
        eventually(lambda: daemon.get("/v1/status")["workers"][0]["connections"] < 10)
        served(daemon, hosts)
        assert daemon.workers() == pids, "and no worker has ended"
