"""A worker with no free descriptor keeps its connections, whatever control sends it.

With ``ulimit -n 80`` and all of them in use, the daemon is reloaded, gets another certificate and loses its control
process. What needs a descriptor cannot be taken: the worker says so or asks again, and what was active stays.
"""

import os
import resource
import signal
from contextlib import ExitStack, closing, contextmanager

import pytest
from admin_rig import NAMES, AdminDaemon
from authority import Authority
from harness import COMMAND, listener
from process_rig import Tunnel, served
from wire import Backend, eventually

LIMIT = 80


@contextmanager
def full(pid):
    """Leave the process the descriptors it has, and no other."""
    used = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    lowest_free = min(set(range(LIMIT + 1)) - used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, LIMIT))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


class Limited(AdminDaemon):
    """One worker behind TLS, started with ``ulimit -n 80``."""

    def __init__(self, folder, hosts):
        self.authority = Authority(folder)
        self.renew()
        web = listener(tls={"certificates": [self.files]})
        super().__init__(folder, hosts, listeners=[web], timeouts={"drain": "1h", "head": "10s"})

    def renew(self):
        self.files = self.authority.issue("ide.example")

    def secure(self):
        return self.connect(tls=self.authority.client(), server_name="ide.example")

    def serial(self):
        with self.secure() as client:
            return client.sock.getpeercert()["serialNumber"]

    def process_of(self, name):
        return next(each["pid"] for each in self.get("/v1/status")["processes"] if each["name"] == name)


@pytest.fixture
def hosts():
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Backend())) for _ in NAMES]


def test_a_reload_a_certificate_and_another_control_cost_no_connection(tmp_path, hosts, monkeypatch):
    monkeypatch.setattr("harness.COMMAND", ["/bin/sh", "-c", f'ulimit -n {LIMIT}; exec "$@"', "sh", *COMMAND])
    with Limited(tmp_path, hosts) as daemon, ExitStack() as stack:
        tunnels = [
            stack.enter_context(closing(Tunnel(daemon, hosts, f"secret-{number}", client=daemon.secure())))
            for number in range(5)
        ]
        serial = daemon.serial()
        worker, control = daemon.process_of("worker 0"), daemon.process_of("control")
        with full(worker):
            daemon.configure(timeouts={"drain": "1h", "head": "11s"})
            daemon.process.send_signal(signal.SIGHUP)
            eventually(lambda: (daemon.get("/v1/status")["last_reload"] or {}).get("ok"))
            assert all(tunnel.alive() for tunnel in tunnels)
            daemon.renew()
            daemon.stderr.wait_for(lambda line: "worker 0 rejects a change, it is sent again" in line)
            assert all(tunnel.alive() for tunnel in tunnels)
            os.kill(control, signal.SIGKILL)
            daemon.stderr.wait_for(lambda line: "control restarted" in line)
            assert all(tunnel.alive() for tunnel in tunnels)
        eventually(lambda: daemon.serial() != serial)
        eventually(lambda: [each["agrees"] for each in daemon.get("/v1/status")["workers"]] == [True])
        assert daemon.process_of("worker 0") == worker
        assert all(tunnel.alive() for tunnel in tunnels)
        assert len(daemon.get("/v1/sessions")["sessions"]) == len(tunnels)
        served(daemon, hosts, client=daemon.secure())
