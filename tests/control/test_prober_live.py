"""Health checks as users and operators see them: the real daemon before real hosts that come and go."""

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from admin_rig import NAMES, AdminDaemon, eventually
from authority import Authority
from prometheus_client.parser import text_string_to_metric_families as parse
from scrape import counters, grown_since
from wire import get

HEALTH = {"type": "http", "interval": "100ms", "timeout": "5s", "rise": 1, "fall": 2}


class Host:
    """An IDE host that says its name: its health is ``status`` and ``requested_state``, what users get is ``real``."""

    def __init__(self, name):
        self.name = name
        self.status, self.requested_state, self.real = 200, "", 200
        self.server = None
        self.port = 0
        self.start()

    def __str__(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                health = self.path == "/health"
                self.send_response(host.status if health else host.real)
                if health and host.requested_state:
                    self.send_header("Balancer-Health", host.requested_state)
                self.send_header("Content-Length", str(len(host.name)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(host.name.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01])
        self.thread.start()

    def stop(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()
            self.server = None


@pytest.fixture
def hosts():
    with contextlib.ExitStack() as stack:
        made = [Host(name) for name in NAMES]
        for host in made:
            stack.callback(host.stop)
        yield made


def served(daemon, count=24):
    """By whom so many users are served, and the rules that chose."""
    names = []
    for n in range(count):
        with daemon.connect() as client:
            response = client.ask(get(f"/{n}?token=secret-{n}"))
            assert response.status == 200
            names.append(response.body.decode())
    return names


def test_hosts_that_were_dead_before_get_nobody_and_those_that_die_are_left(tmp_path, hosts):
    dead, ill, well = hosts
    dead.stop()
    ill.status = 500
    with AdminDaemon(tmp_path, hosts, pool_keys={"health": HEALTH}) as daemon:
        assert set(served(daemon)) == {well.name}
        entries = [daemon.logged(path=f"/{n}") for n in range(24)]
        assert all(entry["tries"] == 1 for entry in entries), "nobody waits for a host that is known to be dead"
        why = {dead.name: "unhealthy: connection refused", ill.name: "unhealthy: status 500"}
        assert {name: why_ for entry in entries for name, why_ in entry["skipped"].items()} == why
        assert {entry["why"] for entry in entries} == {"owner", "successor"}

        dead.start()
        ill.status = 200
        eventually(lambda: daemon.get("/v1/pools/ide")["available"] == 3)
        # The worker that serves knows a moment later than control, which is asked here.
        home = [daemon.place(f"secret-{n}") for n in range(24)]
        assert set(home) == set(NAMES)
        eventually(lambda: served(daemon) == home)

        well.requested_state = "drain"
        eventually(lambda: not daemon.backend(well.name)["takes_new"])
        assert daemon.backend(well.name)["up"]
        assert daemon.backend(well.name)["health"]["wish"] == "drain"
        eventually(lambda: well.name not in set(served(daemon)))
        well.requested_state = ""
        eventually(lambda: served(daemon) == home)


def answered(daemon):
    """Its counters, if control is there."""
    with contextlib.suppress(OSError, AssertionError):
        return counters(daemon.socket)


def test_what_operators_see(tmp_path, hosts):
    with AdminDaemon(tmp_path, hosts, pool_keys={"health": HEALTH}) as daemon:
        assert daemon.ask("GET", "/readyz").status == 200
        for host in hosts:
            host.status = 503
        eventually(lambda: daemon.ask("GET", "/readyz").status == 503)
        facts = eventually(lambda: (b := daemon.backend("ide-01"))["health"]["failed"] > 3 and b)
        assert (facts["up"], facts["why_down"]) == (False, "unhealthy: status 503")
        health = facts["health"]
        assert (health["state"], health["last"], health["changes"]) == ("down", "status 503", 2)
        assert 0 < health["for"] < 60
        assert 0 < health["seconds"] < 5
        assert served(daemon, 1), "all are ill: any is better than none"
        panic = daemon.stderr.wait_for(lambda line: "panic" in line)
        said = "panic: 0% of the pool is healthy, less than 30%, so health is ignored"
        assert re.fullmatch(rf".*ERROR.*pool ide: {said}\n", panic)
        assert daemon.get("/v1/pools/ide")["panic"]
        status = [sys.executable, "-m", "balancer", "status", "--admin", daemon.socket]
        shown = subprocess.run(status, capture_output=True, text=True, check=True).stdout
        assert "PANIC in pool ide: 0% of it is healthy, so health is ignored" in shown

        text = daemon.ask("GET", "/metrics").text
        assert 'balancer_pool_panic{pool="ide"} 1.0' in text
        assert 'balancer_pool_healthy_ratio{pool="ide"} 0.0' in text
        values = {
            (sample.name, sample.labels.get("result")): sample.value
            for family in parse(text)
            for sample in family.samples
            if sample.labels.get("backend") == "ide-01"
        }
        assert values["balancer_backend_healthy", None] == values["balancer_backend_up", None] == 0
        assert values["balancer_health_checks_total", "passed"] >= 1
        assert values["balancer_health_checks_total", "failed"] > 3
        assert values["balancer_health_changes_total", None] == 2
        assert 0 < values["balancer_health_check_seconds", None] < 5

        lines = [line for line in daemon.stderr.lines if "backend ide-01 of pool ide" in line]
        assert len(lines) == 2, "a line for each change, none for each probe"
        assert re.search(r"WARNING .*: up -> down: status 503 \(up for \d+s\)$", lines[1])

        hosts[0].status = 200
        daemon.stderr.wait_for(lambda line: "pool ide: the panic is over: 33% of the pool is healthy" in line)
        assert not daemon.get("/v1/pools/ide")["panic"]

        before = counters(daemon.socket)
        os.kill(next(each["pid"] for each in daemon.get("/v1/status")["processes"]), signal.SIGKILL)
        grown_since(before, eventually(lambda: (now := answered(daemon)) and before.keys() <= now.keys() and now))


def test_probes_go_on_without_the_file_of_their_authorities(tmp_path, hosts):
    """It was read at the start: a control process that is started again does not need it."""
    authority = Authority(tmp_path).file
    health = {**HEALTH, "type": "tls", "tls": {"ca_file": str(authority)}}
    with AdminDaemon(tmp_path, hosts, pool_keys={"health": health}) as daemon:

        def control():
            return next(each for each in daemon.get("/v1/status")["processes"] if each["name"] == "control")

        before = control()
        authority.unlink()
        os.kill(before["pid"], signal.SIGKILL)
        failed = ("balancer_health_checks_total", ("backend", "ide-01"), ("pool", "ide"), ("result", "failed"))

        def probes():
            return (answered(daemon) or {}).get(failed)

        first = eventually(probes)
        eventually(lambda: (probes() or 0) > first + 3)
        assert control()["starts"] == before["starts"] + 1


def test_a_restart_goes_on_with_what_was_known(tmp_path, hosts):
    hosts[0].status = 500
    slow = {**HEALTH, "interval": "1h"}
    with AdminDaemon(tmp_path, hosts, pool_keys={"health": slow}) as daemon:
        assert hosts[0].name not in served(daemon)
        file = tmp_path / "state" / "health.json"
        eventually(lambda: file.exists() and len(json.loads(file.read_text())["ide"]) == 3)
    hosts[0].status = 200  # one good probe is not enough where two are asked for
    with AdminDaemon(tmp_path, hosts, pool_keys={"health": {**slow, "rise": 2}}) as daemon:
        assert daemon.backend("ide-01")["health"]["state"] == "down"
        assert hosts[0].name not in served(daemon)


def test_nobody_is_let_in_before_the_first_verdicts_and_the_wait_can_be_ended(tmp_path, hosts):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = [*hosts[:2], "{}:{}".format(*silent.getsockname())]
        daemon = AdminDaemon(tmp_path, addresses, pool_keys={"health": {**HEALTH, "interval": "1h", "timeout": "1h"}})
        try:
            daemon.stderr.wait_for(lambda line: "the admin API answers" in line)
            eventually(lambda: daemon.backend("ide-01")["up"])
            found = daemon.ask("GET", "/readyz")
            assert (found.status, found.json["why"]) == (503, "the daemon is starting: backends are being probed")
            assert daemon.backend("ide-03")["why_down"] == "not probed yet"
            daemon.stop()
            assert "accepts on" not in str(daemon.stderr)
        finally:
            daemon.__exit__(Exception)


def test_a_host_that_passes_its_probes_and_fails_its_users_is_found(tmp_path, hosts):
    passive = {"mode": "on", "outcomes": ["5xx"], "consecutive": 3, "clients": 1}
    health = {**HEALTH, "passive": passive, "slow_start": "10m", "ejection_time": "1s", "max_ejection_time": "10m"}
    with AdminDaemon(tmp_path, hosts, pool_keys={"health": health}) as daemon:
        users = [f"secret-{n}" for n in range(30)]
        mine = [user for user in users if daemon.place(user) == "ide-01"][:3]
        hosts[0].real = 500

        def ask(user):
            with daemon.connect() as client:
                return client.ask(get(f"/?token={user}"))

        for user in itertools.cycle(mine):
            if (response := ask(user)).body == b"ide-02" or response.body == b"ide-03":
                break
            assert response.status == 500
        hosts[0].real = 200
        assert daemon.backend("ide-01")["health"]["state"] == "up"
        line = daemon.stderr.wait_for(lambda line: "of pool ide: ejected: " in line)
        assert re.search(r"backend ide-01 of pool ide: ejected: \d+ failures in a row; no new users for 1 s", line)
        assert daemon.backend("ide-01")["health"]["ejections"] == {"ejected": 1, "dry_run": 0, "limit": 0}
        text = daemon.ask("GET", "/metrics").text
        assert 'balancer_ejections_total{pool="ide",backend="ide-01",outcome="ejected"} 1.0' in text
        assert 'balancer_backend_healthy{pool="ide",backend="ide-01"} 1.0' in text

        daemon.stderr.wait_for(lambda line: "backend ide-01 of pool ide: takes new users again" in line)
        eventually(lambda: daemon.backend("ide-01")["weight"] == 0.05)
        facts = daemon.backend("ide-01")
        assert (facts["takes_new"], facts["health"]["ejected"], facts["health"]["points"]) == (True, None, 0.05)
        listed = [sys.executable, "-m", "balancer", "backend", "list", "--admin", daemon.socket]
        assert "up, starts with 5% of its points" in subprocess.run(listed, capture_output=True, text=True).stdout
