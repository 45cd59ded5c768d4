"""Processes that are killed, stopped and crash: who notices, what is lost, and what is as before."""

import json
import os
import signal
import socket
import tomllib
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon, UnixConnection
from harness import listener, of_session, toml
from process_rig import Tunnel, command, happened, reached, served
from scrape import counters, grown_since
from wire import Backend, answer, eventually, get, nobody

BOTH = {0, 1}
TURNS = ("balancer_event_loop_lag_seconds_count",)
CONNECTIONS = ("balancer_listener_connections_total", ("listener", "web"))


class Processes(AdminDaemon):
    """With two workers."""

    def __init__(self, folder, hosts, drain="1s", **sections):
        super().__init__(folder, hosts, workers=2, timeouts={"drain": drain, "hang": "2s"}, **sections)

    def workers(self):
        """Process ids of the workers that are attached, by number."""
        return {each["worker"]: each["pid"] for each in self.get("/v1/status")["workers"]}

    def known(self, name):
        """What is known of a process."""
        return next(each for each in self.get("/v1/status")["processes"] if each["name"] == name)

    def control(self):
        return self.known("control")["pid"]

    def sessions(self):
        """(worker, backend) of all open tunnels."""
        return [(int(each["session"][0]), each["backend"]) for each in self.get("/v1/sessions")["sessions"]]

    def back(self, former):
        """Once both workers serve, and the process ``former`` is gone; how that looks."""

        def look():
            try:
                status = self.get("/v1/status")
            except (OSError, AssertionError):  # control is not there
                return None
            pids = {each["pid"] for each in status["processes"]}
            agree = {each["worker"] for each in status["workers"] if each["agrees"]}
            return status if former not in pids and agree == BOTH else None

        return eventually(look)


@pytest.fixture(scope="module")
def hosts():
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Backend())) for _ in NAMES]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    with Processes(tmp_path_factory.mktemp("processes"), hosts) as running:
        eventually(lambda: set(running.workers()) == BOTH)
        yield running


@pytest.fixture
def spread(daemon, hosts):
    """Opens tunnels of a user until both workers have one; all of them, by worker."""
    with ExitStack() as stack:

        def spread(token):
            found = {}
            for _ in range(60):
                known = Counter(daemon.sessions())
                tunnel = stack.enter_context(closing(Tunnel(daemon, hosts, token)))
                ((worker, _),) = eventually(lambda known=known: Counter(daemon.sessions()) - known)
                found.setdefault(worker, []).append(tunnel)
                if found.keys() == BOTH:
                    return found
            raise AssertionError("all connections came to one worker")

        yield spread
    eventually(lambda: not daemon.sessions())
    for host in hosts:
        host.forget()


def all_of(tunnels):
    return [tunnel for each in tunnels.values() for tunnel in each]


def test_a_killed_worker_takes_only_its_own_along(daemon, hosts, spread):
    tunnels = spread("secret-1")
    place = tunnels[0][0].host
    before = counters(daemon.socket)
    pid = daemon.workers()[0]
    with socket.socket() as waiting:  # its sockets stay open: nobody is refused
        os.kill(pid, signal.SIGKILL)
        waiting.connect(("127.0.0.1", daemon.ports["web"][0]))
        assert all(tunnel.client.ended() for tunnel in tunnels[0])
        for _ in range(6):
            assert served(daemon, hosts, "secret-1") == place, "the user's other tunnels are there"
    daemon.back(pid)
    assert all(tunnel.alive() for tunnel in tunnels[1])
    grown = grown_since(before, counters(daemon.socket))
    assert grown[CONNECTIONS] >= 6
    assert grown["balancer_process_starts_total", ("process", "worker 0")] == 1
    assert daemon.known("worker 0")["last_end"] == "signal SIGKILL"
    happened(daemon, "worker 0 has ended: signal SIGKILL", "worker 0 has started")


def test_a_killed_control_costs_no_traffic(daemon, hosts, spread):
    assert daemon.ask("PUT", "./backends/ide-02/state", {"state": "drain"}).status == 200
    tunnels = spread("secret-2")
    before, pid = counters(daemon.socket), daemon.control()
    os.kill(pid, signal.SIGKILL)
    assert all(tunnel.alive() for tunnel in all_of(tunnels))
    for _ in range(4):
        assert served(daemon, hosts, "secret-2") == tunnels[0][0].host
    daemon.back(pid)
    assert all(tunnel.alive() for tunnel in all_of(tunnels))
    assert len(daemon.sessions()) == len(all_of(tunnels)), "it knows of all tunnels again"
    assert daemon.backend("ide-02")["state"] == "drain"
    assert grown_since(before, counters(daemon.socket))[CONNECTIONS] >= 4
    daemon.reset()


def test_a_worker_that_hangs_is_replaced(daemon, hosts, spread):
    tunnels = spread("secret-3")
    pid = daemon.workers()[1]
    os.kill(pid, signal.SIGSTOP)
    daemon.stderr.wait_for(lambda line: f"worker 1 (pid {pid}): no heartbeat for" in line and "killing it" in line)
    daemon.back(pid)
    assert all(tunnel.alive() for tunnel in tunnels[0])
    assert all(tunnel.client.ended() for tunnel in tunnels[1])
    served(daemon, hosts)


def test_a_control_that_hangs_is_replaced(daemon, spread):
    tunnels = spread("secret-4")
    pid = daemon.control()
    os.kill(pid, signal.SIGSTOP)
    daemon.stderr.wait_for(lambda line: f"control (pid {pid}): no heartbeat for" in line and "killing it" in line)
    daemon.back(pid)
    assert all(tunnel.alive() for tunnel in all_of(tunnels))


def test_a_crash_loop_backs_off_and_shows(daemon):
    name = "worker 1"
    starts = daemon.known(name)["starts"]
    for _ in range(3):
        os.kill(eventually(lambda: daemon.known(name)["pid"]), signal.SIGKILL)
        # It shows while it waits to be started, and each end is told of.
        eventually(lambda: daemon.known(name)["pid"] is None)
    lines = [line for line in str(daemon.stderr).splitlines() if f"{name} ended (signal SIGKILL)" in line]
    waits = [float(line.split(" restarting it in ")[1].split(" s")[0]) for line in lines[-3:]]
    assert waits[0] >= 0.1
    assert waits[2] == 4 * waits[0]
    eventually(lambda: daemon.workers().keys() == BOTH)
    assert daemon.known(name)["starts"] == starts + 3
    assert f"{name} was started {starts + 3} times; last end: signal SIGKILL" in command(daemon, "status")[0]


@pytest.mark.parametrize("how", ["weight", "drain", "pin"])
def test_a_user_stays_on_one_host_whichever_worker_they_come_to(daemon, hosts, spread, how):
    tunnels = spread("secret-5")
    place = tunnels[0][0].host
    other = next(name for name in NAMES if name != place)
    if how == "weight":
        assert daemon.ask("PUT", f"./backends/{other}/weight", {"weight": 200}).status == 200
    elif how == "drain":
        assert daemon.ask("PUT", f"./backends/{place}/state", {"state": "drain"}).status == 200
    else:
        assert daemon.ask("POST", "./pins", {"token": "secret-5", "backend": other}).status in (200, 201)
        place = other
    for _ in range(12):
        assert served(daemon, hosts, "secret-5") == place
    if how == "pin":  # who opens a tab there takes the older ones along, those of the other worker too
        with closing(Tunnel(daemon, hosts, "secret-5")) as tab:
            assert tab.host == other
            assert all(tunnel.client.rest()[:1] == b"\x88" for tunnel in all_of(tunnels))
    daemon.reset()


def test_a_worker_that_comes_in_the_middle_of_reloads(daemon, hosts):
    """It ends with the last of them, and with the sockets of a listener that came and went meanwhile."""
    before = Path(daemon.config).read_text()
    config = tomllib.loads(before)
    with nobody() as address:
        daemon.ports["extra"] = [int(address.rpartition(":")[2])]
    extra = listener("extra", bind=[address])
    generation = daemon.get("/v1/reload")["generation"]
    pid = daemon.workers()[0]
    os.kill(pid, signal.SIGKILL)
    number = 0
    while number % 2 == 0 or daemon.workers().get(0) in (None, pid):
        number += 1
        changed = {**config, "limits": {"max_connections": 1000 + number}}
        changed["listener"] = [*config["listener"], *([extra] if number % 2 else [])]
        Path(daemon.config).write_text("".join(f"{key} = {toml(value)}\n" for key, value in changed.items()))
        answer = daemon.ask("POST", "/v1/reload", {})
        assert answer.status == 200, answer.text
    daemon.back(pid)
    assert {each["generation"] for each in daemon.get("/v1/status")["workers"]} == {generation + number}
    for number in range(12):
        assert served(daemon, hosts, f"secret-{number}", client=daemon.connect("extra"))
    Path(daemon.config).write_text(before)
    assert daemon.ask("POST", "/v1/reload", {}).status == 200


def test_connections_are_limited_for_both_workers_together(daemon, hosts, spread):
    tunnels = spread("secret-7")
    most = len(all_of(tunnels)) + 4
    before = Path(daemon.config).read_text()

    def reload(text):
        Path(daemon.config).write_text(text)
        assert daemon.ask("POST", "/v1/reload", {}).status == 200

    def connected():
        return sum(each["connections"] for each in daemon.get("/v1/status")["workers"])

    reload(f"{before}limits = {{max_connections = {most}}}\n")
    with ExitStack() as stack:
        for _ in range(12):  # and it is full, whichever of the workers they come to
            stack.enter_context(daemon.connect())
        eventually(lambda: connected() == most)
        last = stack.enter_context(daemon.connect())
        last.send(get("/?token=secret-7", "Connection: close"))
        assert all(tunnel.alive() for tunnel in all_of(tunnels))
        turns = counters(daemon.socket)[TURNS]
        eventually(lambda: counters(daemon.socket)[TURNS] > turns + 10)  # so both have counted since
        assert connected() == most
        assert all(host.untouched() for host in hosts)
        reload(before)  # who has waited is let in
        _, peer = reached(hosts)
        peer.request()
        peer.send(answer())
        assert last.response().status == 200


def test_limits_hold_for_both_workers_together(daemon, hosts, spread):
    """Of a backend: one more finds no room, whichever worker it comes to; at a bound it goes to another."""
    before = Path(daemon.config).read_text()
    tunnels = spread("secret-6")
    place, held = tunnels[0][0].host, len(all_of(tunnels))

    def reload(**keys):
        members = ", ".join(f'{{name = "{name}", address = "{host}"}}' for name, host in zip(NAMES, hosts, strict=True))
        settings = "".join(f"{key} = {value}, " for key, value in keys.items())
        lines = [line for line in before.splitlines() if not line.startswith("pool = ")]
        pools = f'pool = [{{name = "ide", {settings}backend = [{members}]}}]'
        Path(daemon.config).write_text("\n".join([*lines, pools, ""]))
        assert daemon.ask("POST", "/v1/reload", {}).status == 200

    reload(max_connections=held, queue=0)
    for _ in range(8):
        with daemon.connect() as client:
            assert client.ask(get("/?token=secret-6", "Connection: close")).status == 503
    reload(ring='{algorithm = "ring", bound = 1.0}')
    users = [f"secret-{n}" for n in range(20, 60) if daemon.place(f"secret-{n}") != place]
    assert len(users) == 40, "the host that has a user is above the mean"
    Path(daemon.config).write_text(before)
    assert daemon.ask("POST", "/v1/reload", {}).status == 200


def test_lines_of_the_access_log_are_whole(daemon):
    daemon.logged(event="close")
    assert {json.loads(line)["event"] for line in list(daemon.stdout.lines)} == {"open", "close", "request"}


def test_what_a_killed_supervisor_leaves_ends_by_itself(tmp_path, hosts):
    with nobody() as address:
        listeners = [listener(bind=[address])]
    with Processes(tmp_path, hosts, listeners=listeners, drain="10s") as first:
        with closing(Tunnel(first, hosts, "secret-1")) as tunnel:
            assert first.ask("POST", "./pins", {"token": "secret-9", "backend": "ide-03"}).status in (200, 201)
            leader = first.process.pid
            left = set(of_session(leader)) - {leader}
            os.kill(leader, signal.SIGSTOP)
            with closing(UnixConnection(first.socket)) as asked:  # a reload that gets no answer from the supervisor
                asked.request("POST", "/v1/reload", b"{}")
                assert first.get("/v1/status")["workers"]
                os.kill(leader, signal.SIGKILL)
            # On the same address, with the same files.
            with Processes(tmp_path, hosts, listeners=listeners) as second:
                assert tunnel.alive()
                assert served(second, hosts, "secret-9") == "ide-03"
                tunnel.close()
                eventually(lambda: not left & set(of_session(leader)))
                with closing(Tunnel(second, hosts, "secret-1")) as tunnel:
                    second.process.send_signal(signal.SIGTERM)
                    second.stderr.wait_for(lambda line: "no new connections" in line)
                    assert "the daemon is stopping" in second.ask("POST", "/v1/reload", {}).error
                    assert tunnel.alive()
        first.check()
