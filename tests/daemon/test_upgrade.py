"""Hot upgrades as operators see them: verbs, answers, what goes on, and releases that fail."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon
from harness import children
from process_rig import Tunnel, command, served
from releases import GOES_BACK, REFUSED, make_release
from scrape import metric
from wire import Backend, eventually


class Upgrading(AdminDaemon):
    """Begins as release 1.1 of its own folder."""

    def __init__(self, folder, hosts, *, releases=(), workers=1, upgrade=None, **sections):
        self.releases = folder / "releases"
        for name in ("1.1", "1.2"):
            make_release(self.releases / name, name)
        settings = {"releases": str(self.releases), "prove": "0s", **(upgrade or {})}
        self.upgrade_settings = settings
        super().__init__(folder, hosts, workers=workers, upgrade=settings, **sections)

    def upgrade(self, *words):
        """Wait for an upgrade; it has to succeed."""
        said, code = command(self, "upgrade", "--wait", *words)
        assert code == 0, f"{said}\n{self.stderr}"
        return said

    def fails(self, *words, code=1):
        said, found = command(self, "upgrade", "--wait", *words)
        assert found == code, said
        return said

    @property
    def version(self):
        return self.get("/v1/status")["version"]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The command of a release of its own, as it is installed."""
    folder = make_release(tmp_path_factory.mktemp("first") / "1.1", "1.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.COMMAND", [str(folder / "bin" / "python"), "-I", "-m", "balancer", "--config"])
        yield folder


@pytest.fixture(scope="module")
def hosts():
    backends = [Backend() for _ in NAMES]
    yield backends
    for backend in backends:
        backend.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts, release):
    with Upgrading(tmp_path_factory.mktemp("upgrade"), hosts) as running:
        yield running


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory, hosts, release):
    with Upgrading(tmp_path_factory.mktemp("spoiled"), hosts, upgrade={"prove": "2s"}) as running:
        yield running


def test_nobody_notices(daemon, hosts):
    tunnel, pid, before = Tunnel(daemon, hosts, "secret-1"), daemon.process.pid, children(daemon.process.pid)
    with daemon.connect() as half:  # a client that has said only half of its request
        half.send(b"GET /?token=secret-2 HT")
        eventually(lambda: metric(daemon.socket, "balancer_connections") == 2)
        assert daemon.version == "1.1"
        assert "upgraded from 1.1 to 1.2" in daemon.upgrade("--to", "1.2")
        assert daemon.version == "1.2"
        assert set(children(pid)) != set(before)
        home = daemon.place("secret-2")
        half.send(b"TP/1.1\r\nHost: ide.example\r\n\r\n")
        peer = hosts[NAMES.index(home)].accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        answer = half.response()
        assert (answer.body, answer["connection"]) == (b"ok", "close")
        peer.close()
    assert tunnel.alive()
    assert served(daemon, hosts, "secret-3") == daemon.place("secret-3")
    status = daemon.get("/v1/status")
    (previous,) = status["previous"]
    assert (previous["version"], previous["workers"], previous["tunnels"]) == ("1.1", 1, 1)
    assert [each["agrees"] for each in status["workers"]] == [True]
    assert metric(daemon.socket, "balancer_previous_workers") == 1
    assert metric(daemon.socket, "balancer_previous_tunnels") == 1
    assert metric(daemon.socket, "balancer_upgrades_total", outcome="done") >= 1
    assert "previous: 1.1, 1 worker, 1 tunnel, oldest" in command(daemon, "status")[0]
    tunnel.close()
    eventually(lambda: not daemon.get("/v1/status")["previous"])
    assert daemon.upgrade("--to", "1.1")  # back
    assert daemon.version == "1.1"


@pytest.mark.site
def test_a_dry_run_changes_nothing(daemon):
    pids, count = children(daemon.process.pid), metric(daemon.socket, "balancer_upgrades_total", outcome="done")
    said, code = command(daemon, "upgrade", "--to", "1.2", "--dry-run")
    assert (code, "rehearsed the upgrade from" in said) == (0, True)
    assert children(daemon.process.pid) == pids
    assert metric(daemon.socket, "balancer_upgrades_total", outcome="done") == count


@pytest.mark.site
def test_the_same_version_is_a_valid_goal(daemon):
    pids = children(daemon.process.pid)
    assert "to 1.1" in daemon.upgrade()  # there is no current one: what runs
    assert not set(pids) & set(children(daemon.process.pid))


def test_a_signal_upgrades_to_the_current_release(daemon):
    (daemon.releases / "current").symlink_to("1.2")
    number = daemon.get("/v1/upgrade")["number"]
    daemon.process.send_signal(signal.SIGUSR2)
    eventually(lambda: (found := daemon.get("/v1/upgrade"))["number"] > number and found["state"] == "done")
    assert daemon.version == "1.2"
    (daemon.releases / "current").unlink()
    daemon.upgrade("--to", "1.1")


def test_workers_of_previous_versions_obey(daemon, hosts):
    """A drain that is over ends tunnels wherever they are, and further tabs are where the first one is."""
    tunnel = Tunnel(daemon, hosts, "secret-1")
    daemon.upgrade("--to", "1.2")
    assert daemon.ask("PUT", f"./backends/{tunnel.host}/state", {"state": "drain"}).status == 200
    second = Tunnel(daemon, hosts, "secret-1")
    assert second.host == tunnel.host
    stranger = Tunnel(daemon, hosts, "secret-1000")
    assert stranger.host != tunnel.host
    daemon.upgrade("--to", "1.1")
    third = Tunnel(daemon, hosts, "secret-1")
    assert third.host == tunnel.host
    assert {each["version"] for each in daemon.get("/v1/status")["previous"]} == {"1.1", "1.2"}
    listed = {each["session"]: each["backend"] for each in daemon.get("/v1/sessions")["sessions"]}
    assert len(listed) == 4
    (session,) = [name for name, backend in listed.items() if backend != tunnel.host]
    assert daemon.ask("DELETE", f"/v1/sessions/{session}").status == 200
    assert stranger.client.exactly(4)[2:] == (1012).to_bytes(2)
    body = {"state": "maint", "cut_after": 0.1}
    assert daemon.ask("PUT", f"./backends/{tunnel.host}/state", body).status == 200
    for each in (tunnel, second, third):
        assert each.client.exactly(4)[2:] == (1012).to_bytes(2)
    for each in (tunnel, second, third, stranger):
        each.close()
    eventually(lambda: not daemon.get("/v1/status")["previous"])
    daemon.reset()


def test_previous_versions_are_ended_on_demand(daemon, hosts):
    tunnel = Tunnel(daemon, hosts, "secret-1")
    daemon.upgrade("--to", "1.2")
    said, code = command(daemon, "upgrade", "--finish", "--over", "0s")
    assert (code, said) == (0, "ending 1 worker of previous versions with 1 tunnel within 0s\n")
    assert tunnel.client.exactly(4)[2:] == (1012).to_bytes(2)
    tunnel.close()
    eventually(lambda: not daemon.get("/v1/status")["previous"])
    assert command(daemon, "upgrade", "--finish") == ("no previous version has connections\n", 0)
    daemon.upgrade("--to", "1.1")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("unimportable", "ImportError: broken", marks=pytest.mark.site),
        pytest.param("other-format", "hands over in format 1; this one reads up to 0", marks=pytest.mark.site),
        ("other-points", "--allow-moves"),
    ],
)
def test_a_release_that_is_refused(daemon, fault, reason):
    make_release(daemon.releases / fault, "1.3", REFUSED[fault])
    pids = children(daemon.process.pid)
    assert reason in daemon.fails("--to", fault)
    assert children(daemon.process.pid) == pids
    assert daemon.version == "1.1"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("no-supervisor", "it could not take over: ImportError: broken"),
        pytest.param("no-memory", "it could not take over: MemoryError", marks=pytest.mark.site),
        pytest.param("hangs", "it could not take over: TimeoutError", marks=pytest.mark.site),
        pytest.param("no-control", "control of the new version ended: exit status 1", marks=pytest.mark.site),
        pytest.param("no-worker", "of the new version ended: exit status 1", marks=pytest.mark.site),
        ("dying-worker", "of the new version ended: exit status 7"),
        pytest.param("hanging-worker", "not all of 1 workers are ready within 30 s", marks=pytest.mark.site),
        pytest.param("no-answers", "has tested itself", marks=pytest.mark.site),
        pytest.param("bad-setup", "rejects its configuration: never", marks=pytest.mark.site),
    ],
)
def test_a_release_that_fails_goes_back(spoiled, hosts, fault, reason):
    daemon = spoiled
    make_release(daemon.releases / fault, "1.3", GOES_BACK[fault])
    tunnel = Tunnel(daemon, hosts, "secret-1")
    before = metric(daemon.socket, "balancer_upgrades_total", outcome="went_back")
    assert reason in daemon.fails("--to", fault)
    assert daemon.version == "1.1"
    assert tunnel.alive()
    assert served(daemon, hosts)
    assert metric(daemon.socket, "balancer_upgrades_total", outcome="went_back") == before + 1
    assert not daemon.get("/v1/status")["previous"]
    assert reason in command(daemon, "status")[0]
    tunnel.close()


@pytest.mark.site  # two upgrades, to see that nothing is left of the refused one
def test_control_ends_during_the_rehearsal(daemon, hosts, tmp_path):
    """The next one may ask the supervisor for what another version would not answer."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    waits = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\n"
    waits += f"while not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.01)\n"
    make_release(daemon.releases / "waits", "1.3", {"daemon/rehearsal.py": ("", waits)})
    tunnel = Tunnel(daemon, hosts, "secret-1")
    with ThreadPoolExecutor(1) as others:
        asked = others.submit(command, daemon, "upgrade", "--to", "waits")
        eventually(begun.exists)
        (control,) = (each["pid"] for each in daemon.get("/v1/status")["processes"] if each["name"] == "control")
        os.kill(control, signal.SIGKILL)
        daemon.stderr.wait_for(lambda line: "control restarted" in line)
        go.touch()
        daemon.stderr.wait_for(lambda line: "refused: the control process has ended meanwhile" in line)
        assert asked.result()[1] == 3  # nobody answered
    assert daemon.version == "1.1"
    assert tunnel.alive()
    tunnel.close()
    assert daemon.upgrade("--to", "1.2")
    assert daemon.upgrade("--to", "1.1")


def test_moves_that_are_allowed(daemon):
    make_release(daemon.releases / "moving", "1.4", REFUSED["other-points"])
    before = daemon.get("/v1/pools/ide")["fingerprint"]
    said = daemon.upgrade("--to", "moving", "--allow-moves")
    assert f"in place of {before}" in said
    assert 'another default: pool "ide" > ring > points: 160 -> 150' in said
    assert daemon.get("/v1/pools/ide")["fingerprint"] != before
    daemon.upgrade("--to", "1.1", "--allow-moves")
    assert daemon.get("/v1/pools/ide")["fingerprint"] == before


def test_over_tcp_a_release_has_a_name(tmp_path, hosts, release):
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    admin = {"socket": str(tmp_path / "admin.sock"), "listen": "127.0.0.1:0", "token_file": str(tmp_path / "token")}
    with Upgrading(tmp_path, hosts, admin=admin) as daemon:
        bearer = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef"}
        assert daemon.tcp("POST", "/v1/upgrade", {"to": "1.2"}).status == 401
        path = daemon.tcp("POST", "/v1/upgrade", {"to": str(daemon.releases / "1.2")}, **bearer)
        assert (path.status, "a path is for the Unix socket only" in path.error) == (409, True)
        assert daemon.tcp("POST", "/v1/upgrade", {"to": "1.2", "dry_run": True}, **bearer).status == 200
        said, code = command(daemon, "upgrade", "--to", str(daemon.releases / "1.2"), "--dry-run")
        assert code == 0, said
        (daemon.releases / "1.2" / "bin").chmod(0o777)
        assert "may be written by others" in daemon.tcp("POST", "/v1/upgrade", {"to": "1.2"}, **bearer).error
        assert daemon.fails("--to", "1.2")
        (daemon.releases / "1.2" / "bin").chmod(0o755)
        address = daemon.tcp("GET", "/healthz").status
        daemon.upgrade("--to", "1.2")
        assert daemon.tcp("GET", "/healthz").status == address == 200  # the same socket


def test_too_many_versions_with_tunnels(tmp_path, hosts, release):
    settings = {"max_generations": 1, "keep": "2s"}
    with Upgrading(tmp_path, hosts, upgrade=settings, timeouts={"close_spread": "0.1s"}) as daemon:
        tunnel = Tunnel(daemon, hosts, "secret-1")
        daemon.upgrade("--to", "1.2")
        assert "max_generations" in daemon.fails("--to", "1.1")
        assert command(daemon, "upgrade", "--to", "1.1", "--dry-run")[1] == 0
        assert tunnel.client.exactly(4)[2:] == (1012).to_bytes(2)  # keep is over
        tunnel.close()
        eventually(lambda: not daemon.get("/v1/status")["previous"])
        daemon.upgrade("--to", "1.1")


def test_processes_start_from_the_release_that_was_resolved_at_the_start(tmp_path, hosts):
    folder = tmp_path / "releases"
    make_release(folder / "1.1", "1.1")
    (folder / "current").symlink_to("1.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.COMMAND", [str(folder / "current/bin/python"), "-m", "balancer", "--config"])
        with AdminDaemon(tmp_path, hosts, upgrade={"releases": str(folder)}) as daemon:
            make_release(folder / "1.2", "1.2")
            (folder / "current").unlink()
            (folder / "current").symlink_to("1.2")
            (worker,) = daemon.get("/v1/status")["workers"]
            os.kill(worker["pid"], signal.SIGKILL)

            def restarted():
                (found,) = daemon.get("/v1/status")["workers"] or [worker]
                return found["pid"] != worker["pid"] and found["pid"]

            program = Path(f"/proc/{eventually(restarted)}/cmdline").read_text().split("\0")[0]
            assert program == str(folder / "1.1" / "bin" / "python")


def test_a_journal_that_the_other_version_cannot_read(tmp_path, hosts, release):
    with Upgrading(tmp_path, hosts) as daemon:
        text = "FORMAT = 1\n"
        make_release(daemon.releases / "old", "0.9", {"overlay/entries.py": (text, "FORMAT = 0\n")})
        daemon.upgrade("--to", "old")  # what it does not know may be ignored
        daemon.upgrade("--to", "1.1")
        journal = tmp_path / "state" / "journal.jsonl"
        last = json.loads(journal.read_text().splitlines()[-1])
        with journal.open("a") as file:
            file.write(json.dumps(last | {"seq": last["seq"] + 1, "min": 1}) + "\n")
        assert "format 1, and this version reads up to 0" in daemon.fails("--to", "old")


def test_a_stop_in_the_middle_of_an_upgrade(tmp_path, hosts, release):
    with Upgrading(tmp_path, hosts, upgrade={"prove": "1h"}) as daemon:
        tunnel = Tunnel(daemon, hosts, "secret-1")
        assert command(daemon, "upgrade", "--to", "1.2")[1] == 0
        eventually(lambda: len(children(daemon.process.pid)) >= 3)
        assert "an upgrade to 1.2 is under way" in command(daemon, "status")[0]
        assert "is under way" in daemon.fails("--to", "1.2")
        assert daemon.ask("POST", "/v1/reload", {}).status == 409
        daemon.process.send_signal(signal.SIGTERM)
        daemon.stderr.wait_for(lambda line: "SIGTERM: no new connections" in line)
        assert tunnel.alive()
        tunnel.close()
        assert daemon.ended() == 0
