"""The verbs that talk to a running daemon, as operators type them."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.metadata import version
from xml.etree import ElementTree

import pytest
from admin_rig import ADMIN, NAMES, AdminDaemon, eventually
from wire import PATIENCE, Backend, answer

from balancer.cli.command import main
from balancer.shared.compiled import build

COMMAND = [sys.executable, "-m", "balancer"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    with AdminDaemon(tmp_path_factory.mktemp("cli"), hosts, pool_keys={"linger": "100ms"}) as running:
        yield running


@pytest.fixture(autouse=True)
def taken_back(daemon, hosts):
    yield
    daemon.reset()
    for host in hosts:
        host.forget()


@pytest.fixture
def run(monkeypatch, capsys, daemon):
    """The command in this process, on the socket of the daemon: exit code, output, errors."""

    def command(*args, stdin=b"", admin=True):
        where = ["--admin", daemon.socket] if admin else []
        monkeypatch.setattr(sys, "argv", ["balancer", *map(str, args), *where])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main()
        except SystemExit as end:  # argparse
            code = end.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return command


@pytest.fixture
def interruptible():
    """SIGINT works in child processes. Shells make what they start in the background ignore it, which is inherited."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def done(run, *args, **more):
    """What it prints; it must have worked."""
    code, out, err = run(*args, **more)
    assert code == 0, err
    assert "secret-" not in out + err
    return out


def refused(run, *args, code=1, **more):
    """What it says; it must have refused, and printed nothing."""
    found, out, err = run(*args, **more)
    assert (found, out) == (code, "")
    assert "Traceback" not in err
    return err


class TestStatus:
    def test_for_people(self, run, daemon):
        done(run, "backend", "drain", "ide-02")
        out = done(run, "status")
        assert f"balancer {version('balancer')} ({build()}) at {daemon.socket}, up " in out
        assert "2 of 3 backends take new users; 0 users with 0 tunnels, 0 pins" in out
        assert re.search(r"^  ide-02 +127\.0\.0\.1:\d+ +drain +up +1 ", out, re.MULTILINE)
        assert "\x1b" not in out  # no terminal, no colour

    def test_for_scripts(self, run):
        found = json.loads(done(run, "status", "--json"))
        assert [backend["name"] for backend in found["pools"][0]["backend"]] == list(NAMES)

    def test_what_is_wrong_comes_first(self, run, tmp_path):
        with AdminDaemon(tmp_path, keep=False) as forgetful:
            _, out, _ = run("status", "--admin", forgetful.socket, admin=False)
            assert out.splitlines()[1] == (
                "pins, states and weights are lost when the daemon ends: set state_dir in its configuration"
            )
            _, out, _ = run("ring", "log", "--admin", forgetful.socket, admin=False)
            assert out == "this daemon has no journal: set state_dir in its configuration\n"


class TestLogLevel:
    def test_look_and_change(self, run, daemon):
        assert done(run, "log-level") == "the log level is info\n"
        assert done(run, "log-level", "error") == "the log level is error\n"
        assert json.loads(done(run, "log-level", "--json")) == {"level": "error"}
        done(run, "log-level", "info")
        refused(run, "log-level", "loud", code=2)


class TestPins:
    def test_pin_list_unpin(self, run, daemon):
        out = done(run, "pin", "secret-1", "ide-02", "--for", "2h", "--reason", "their disk")
        (undo,) = re.findall(r"to undo: balancer (unpin digest:[0-9a-f]{16})\n", out)
        assert daemon.place("secret-1") == "ide-02"
        assert re.search(r"digest:[0-9a-f]{16}  ide-02   in (2h|1h 59m) .* their disk\n", done(run, "pins"))
        assert json.loads(done(run, "pins", "--json"))["pins"][0]["backend"] == "ide-02"
        done(run, *undo.split())
        assert done(run, "pins") == "pool ide has no pins\n"

    def test_a_token_from_standard_input(self, run, daemon):
        done(run, "pin", "-", "ide-03", stdin=b"secret-2\nnot this\n")
        assert daemon.place("secret-2") == "ide-03"
        done(run, "unpin", "-", stdin=b"secret-2\n")
        assert daemon.get("./pins")["pins"] == []

    def test_a_prefix(self, run, daemon):
        out = done(run, "pin", "secret-x", "ide-03", "--prefix")
        assert {daemon.place(f"secret-x{n}") for n in range(9)} == {"ide-03"}
        assert "no such pin" in refused(run, "unpin", "secret-x")  # that is a pin of one user
        (undo,) = re.findall(r"balancer (unpin digest:[0-9a-f]{16}/8)\n", out)
        assert done(run, *undo.split()) == f"{undo.removeprefix('unpin ')} is no longer pinned\n"
        done(run, "pin", "secret-x", "ide-03", "--prefix")
        done(run, "unpin", "secret-x", "--prefix")
        assert daemon.get("./pins")["pins"] == []

    def test_the_author_is_the_one_who_typed_it(self, run, daemon, monkeypatch):
        monkeypatch.setenv("SUDO_USER", "alice")
        done(run, "pin", "secret-1", "ide-02")
        assert daemon.get("./pins")["pins"][0]["author"] == f"alice (uid {os.getuid()})"
        assert f"alice (uid {os.getuid()})" in done(run, "ring", "log", "--limit", "1")

    def test_refusals(self, run):
        assert 'no backend "ide-04"; existing backends: ide-01, ide-02, ide-03' in refused(run, "pin", "t", "ide-04")
        assert "there is no such pin; `balancer pins` lists them" in refused(run, "unpin", "t")
        assert "expected digest: and 16 hex digits" in refused(run, "unpin", "digest:12")
        assert "a token in a query cannot contain &" in refused(run, "unpin", "a&b")
        assert "not valid UTF-8" in refused(run, "pin", "-", "ide-01", stdin=b"\xff\n")
        assert "expected a duration" in refused(run, "pin", "t", "ide-01", "--for", "2", code=2)


class TestBackend:
    def test_states(self, run, daemon):
        assert re.fullmatch(
            "ide-01 is draining: it gets no new users; 0 users with 0 tunnels still connected\n"
            r"tunnels that are left at .+ \(in (1h|59m 59s)\) will be closed\n"
            "to undo: balancer backend ready ide-01\n",
            done(run, "backend", "drain", "ide-01"),
        )
        assert daemon.backend("ide-01")["state"] == "drain"
        assert "in maintenance" in done(run, "backend", "maint", "ide-01")
        assert done(run, "backend", "ready", "ide-01") == "ide-01 is ready and takes new users\n"
        assert len(done(run, "backend", "list").splitlines()) == 4

    def test_ready_alone_does_not_bring_everybody_back(self, run, daemon):
        done(run, "backend", "weight", "ide-01", "0")
        assert "its weight is 0; to give it new users: balancer backend weight ide-01 1" in done(
            run, "backend", "ready", "ide-01"
        )

    def test_weights(self, run, daemon):
        assert done(run, "backend", "weight", "ide-01", "2") == "the weight of ide-01 is 2\n"
        out = done(run, "backend", "weight", "ide-01", "4", "--over", "30m")
        assert out.startswith("the weight of ide-01 is 2 and will be 4 in 30m\n")
        assert "is 2, paused\n" in done(run, "backend", "weight", "ide-01", "--pause")
        assert "2 -> 4, paused" in done(run, "backend", "list")
        assert "will be 4 in" in done(run, "backend", "weight", "ide-01", "--resume")
        assert done(run, "backend", "weight", "ide-01", "--rollback") == "the weight of ide-01 is 2\n"

    @pytest.mark.parametrize("weight", ["nan", "-1", "1e9", "inf"])
    def test_no_weight(self, run, daemon, weight):
        assert "weight: expected" in refused(run, "backend", "weight", "ide-01", weight)
        assert daemon.backend("ide-01")["weight"] == 1

    def test_usage(self, run):
        refused(run, "backend", "weight", "ide-01", code=2)
        refused(run, "backend", "weight", "ide-01", "2", "--pause", code=2)
        assert "--over needs a weight" in refused(run, "backend", "weight", "ide-01", "--pause", "--over", "2m")
        refused(run, "backend", code=2, admin=False)
        assert 'no backend "ide-04"; existing backends: ide-01' in refused(run, "backend", "drain", "ide-04")


class TestPlans:
    def test_plan_and_apply(self, run, daemon, tunnels, tmp_path):
        home = daemon.place("secret-1")
        tunnels("secret-1")
        picture = tmp_path / "ring.svg"
        out = done(run, "ring", "plan", "--drain", home, "--svg", picture)
        assert "1 of 1 connected users would belong elsewhere, with 1 open tunnels" in out
        assert ElementTree.parse(picture).getroot().tag.endswith("svg")
        (apply,) = re.findall(r"apply it: balancer (ring apply [0-9a-f]{16})\n", out)
        assert f"{home} drain" in done(run, *apply.split())
        assert daemon.backend(home)["state"] == "drain"
        assert "no such plan" in refused(run, *apply.split())

    def test_many_changes_and_json(self, run):
        changes = ("--add", "ide-09=127.0.0.1:9", "--remove", "ide-01", "--weight", "ide-02=2", "--maint", "ide-03")
        found = json.loads(done(run, "ring", "plan", *changes, "--json"))
        assert [change["op"] for change in found["changes"]] == ["add", "remove", "weight", "state"]
        assert found["after"]["weights"] == {"ide-02": 2, "ide-09": 1}

    def test_another_configuration(self, run, daemon, tunnels, tmp_path):
        home = daemon.place("secret-1")
        tunnels("secret-1")
        kept = [name for name in ("ide-01", "ide-02", "ide-03") if name != home]
        new = tmp_path / "new.toml"
        backends = "".join(
            f'[[pool.backend]]\nname = "{n}"\naddress = "127.0.0.1:{9 + i}"\n' for i, n in enumerate(kept)
        )
        new.write_text(
            f'[[listener]]\nname = "w"\nbind = ["127.0.0.1:0"]\npool = "ide"\n[[pool]]\nname = "ide"\n{backends}'
        )
        found = json.loads(done(run, "ring", "plan", "--to", new, "--json"))
        assert list(found["after"]["weights"]) == kept
        assert found["users"]["moving"] == found["users"]["connected"] == 1
        out = done(run, "ring", "plan", "--to", new, "--svg", tmp_path / "ring.svg")
        assert "1 of 1 connected users" in out
        assert "balancer ring apply" not in out
        assert "a configuration file" in refused(run, "ring", "apply", found["id"])
        new.write_text(new.read_text().replace('"ide"', '"other"'))
        assert 'has no pool "ide"; it has other' in refused(run, "ring", "plan", "--to", new)
        assert "give the change to plan" in refused(run, "ring", "plan", "--to", new, "--drain", home)

    def test_a_stale_plan(self, run, daemon):
        plan = json.loads(done(run, "ring", "plan", "--drain", "ide-01", "--json"))["id"]
        done(run, "backend", "weight", "ide-02", "2")
        assert "make a new plan" in refused(run, "ring", "apply", plan)
        assert daemon.backend("ide-01")["state"] == "ready"

    @pytest.mark.parametrize(
        ("args", "code", "said"),
        [
            ([], 1, "give the change to plan"),
            (["--remove", "ide-04"], 1, 'no backend "ide-04"'),
            (["--weight", "ide-01=nan"], 1, "expected a finite number"),
            (["--weight", "ide-01=x"], 2, 'expected a number as the weight, not "x"'),
            (["--weight", "ide-01"], 2, "expected BACKEND=W"),
            (["--drain", "ide-01=2"], 2, "expected BACKEND"),
            (["--add", "x=localhost:1"], 1, "names are not resolved"),
            (["--remove", "ide-01", "--remove", "ide-02", "--remove", "ide-03"], 1, "no ready backend"),
        ],
    )
    def test_refusals(self, run, args, code, said):
        assert said in refused(run, "ring", "plan", *args, code=code)


class TestLooking:
    def test_explain(self, run, daemon, tunnels):
        home = daemon.place("secret-1")
        tunnels("secret-1")
        out = done(run, "ring", "explain", "-", stdin=b"secret-1\n")
        assert f": 1 open tunnel, on {home}\ntoken found in: query\n" in out
        assert f"this user's next connection goes to {home}; if that host is lost, to " in out
        found = json.loads(done(run, "ring", "explain", "secret-1", "--json"))
        assert found["live"] == {"place": home, "tunnels": 1}
        assert json.loads(done(run, "ring", "explain", f"digest:{found['digest']}", "--json")) == found

    def test_show(self, run, daemon):
        fingerprint = daemon.get("/v1/pools/ide")["fingerprint"]
        assert f"pool ide: ring, 3 backends, fingerprint {fingerprint}\n" in done(run, "ring", "show")
        (found,) = json.loads(done(run, "ring", "show", "--json"))
        assert found["fingerprint"] == fingerprint

    def test_log(self, run):
        done(run, "backend", "drain", "ide-01")
        done(run, "backend", "weight", "ide-02", "2", "--over", "1h")
        *_, drain, weight = done(run, "ring", "log").splitlines()
        assert drain.endswith("  ide-01 drain")
        assert weight.endswith("  weight of ide-02 2 over 1h")
        assert len(json.loads(done(run, "ring", "log", "--limit", "2", "--json"))["entries"]) == 2

    def test_where_was_this_token_then(self, run, daemon):
        home = daemon.place("secret-1")
        entries = daemon.get("./journal")["entries"]
        done(run, "backend", "drain", home)
        out = done(run, "ring", "log", "--at", "0.001s", "--token", "-", stdin=b"secret-1\n")
        assert f"owner  {home}, skipped: draining" in out
        began = entries[0]["time"] + 0.001
        stamp = subprocess.run(["date", "-u", "-d", f"@{began}", "+%FT%T.%6N+00:00"], capture_output=True, check=True)
        out = done(run, "ring", "log", "--at", stamp.stdout.decode().strip(), "--token", "secret-1", "--json")
        assert json.loads(out)["placed"] == home
        assert "does not reach back" in refused(run, "ring", "log", "--at", "2001-01-01", "--token", "t")
        assert "must be given together" in refused(run, "ring", "log", "--at", "2h")
        assert "in the past" in refused(run, "ring", "log", "--at", "2999-01-01", "--token", "t")
        assert "expected a time" in refused(run, "ring", "log", "--at", "noon", "--token", "t", code=2)

    def test_a_trace_header(self, run):
        code, out, err = run("ring", "trace", "--for", "10m")
        assert code == 0
        assert re.fullmatch(r"X-Balancer-Trace: [0-9a-f]+\.[0-9a-f]{32}\n", out)
        assert "valid until" in err


class TestSessions:
    def test_of_one_user(self, run, tunnels):
        tunnels("secret-1", "secret-2")
        listed = done(run, "sessions")
        assert listed.startswith("2 open tunnels\n")
        digest = re.search(r"^ *\d+-\d+  (digest:[0-9a-f]{16})  ide ", listed, re.MULTILINE)[1]
        assert done(run, "sessions", "--user", digest).startswith("1 open tunnel\n")
        of_one = done(run, "sessions", "--user", "-", stdin=b"secret-1\n")
        assert of_one.startswith("1 open tunnel\n")
        session = of_one.splitlines()[-1].split()[0]
        assert done(run, "sessions", "--close", session) == f"{session} is closed\n"
        eventually(lambda: done(run, "sessions", "--user", "secret-1") == "0 open tunnels\n")
        assert "expected digest: and 16 hex digits" in refused(run, "sessions", "--user", "digest:12")
        assert "no such session" in refused(run, "sessions", "--close", "9-99")


class TestReload:
    def test_nothing_to_do(self, run):
        assert done(run, "reload", "--dry-run") == "the file is the active configuration\n"


class TestStrays:
    def test_list_and_settle(self, run, daemon, tunnels):
        assert "no strays" in done(run, "ring", "strays")
        tunnels("secret-1", "secret-2")
        for token in ("secret-1", "secret-2"):
            done(run, "pin", token, next(name for name in NAMES if name != daemon.place(token)))
        listed = done(run, "ring", "strays")
        assert len(re.findall(r"^  digest:[0-9a-f]{16}  ide-0\d  ide-0\d +1$", listed, re.MULTILINE)) == 2
        assert json.loads(done(run, "ring", "strays", "--json"))["count"] == 2
        assert done(run, "ring", "settle", "--rate", "100/s") == "2 of 2 strays moved\n"
        assert done(run, "ring", "settle", "--rate", "5") == "there are no strays\n"

    def test_ctrl_c(self, daemon, tunnels, run, interruptible):
        tunnels("secret-1", "secret-2")
        for token in ("secret-1", "secret-2"):
            done(run, "pin", token, next(name for name in NAMES if name != daemon.place(token)))
        command = [*COMMAND, "ring", "settle", "--rate", "1/h", "--admin", daemon.socket]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                eventually(lambda: (work := daemon.get("./strays")["settling"]) and work["moved"] == 1)
                assert not daemon.get("./strays")["settling"]["done"]
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        assert (process.returncode, err) == (0, "")
        assert out == "stopped: 1 of 2 strays moved, the others stay where they are\n"
        assert daemon.get("./strays")["settling"]["done"]

    def test_bad_rates(self, run):
        for rate in ("fast", "5/d", "1e3", "nan"):
            assert "expected a rate" in refused(run, "ring", "settle", "--rate", rate, code=2)
        assert "rate: expected" in refused(run, "ring", "settle", "--rate", "0")


class TestReaching:
    def test_by_configuration(self, run, daemon):
        assert "ide-01" in done(run, "status", "--config", daemon.config, admin=False)
        assert "ide-01" in done(run, "--config", daemon.config, "status", admin=False)
        assert "not connected" in done(run, "ring", "explain", "secret-1", "--config", daemon.config, admin=False)

    def test_nobody_there(self, run, tmp_path):
        err = refused(run, "status", "--admin", tmp_path / "none.sock", code=3, admin=False)
        assert err == (f"cannot reach the daemon at {tmp_path}/none.sock: No such file or directory; is it running?\n")
        refused(run, "status", "--admin", "http://127.0.0.1:1", code=3, admin=False)

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff"])
    def test_a_web_server_there(self, run, body):
        def serve():
            peer = server.accept()
            peer.request()
            peer.send(answer(body, "Connection: close"))

        with closing(Backend()) as server, ThreadPoolExecutor(1) as thread:
            served = thread.submit(serve)
            err = refused(run, "status", "--admin", f"http://{server}", code=3, admin=False)
            served.result()
        assert err.endswith(": the answer is not from the balancer's admin API\n")

    def test_something_else_there(self, run, daemon):
        refused(run, "status", "--admin", f"http://127.0.0.1:{daemon.ports['web'][0]}", code=3, admin=False)

    def test_no_such_address(self, run):
        for address in ("https://127.0.0.1:1", "http://127.0.0.1", "http://a:b", "http://127.0.0.1:1/x"):
            assert "http://HOST:PORT" in refused(run, "status", "--admin", address, code=2, admin=False)

    def test_no_such_pool(self, run):
        assert 'no pool "other"; existing pools: ide' in refused(run, "pins", "--pool", "other")

    def test_a_configuration_that_names_no_daemon(self, run, tmp_path):
        file = tmp_path / "balancer.toml"
        file.write_text("[admin]\n")
        assert "has no admin.socket" in refused(run, "status", "--config", file, admin=False)
        file.write_text("[admin]\nsocket = 5\n")
        assert "balancer check --config" in refused(run, "status", "--config", file, admin=False)
        assert "cannot be read" in refused(run, "status", "--config", tmp_path / "none", admin=False)

    def test_without_the_daemon_the_file_has_to_do(self, run, tmp_path, daemon):
        ended = AdminDaemon(tmp_path)
        with ended:
            fingerprint = ended.get("/v1/pools/ide")["fingerprint"]
        for verb in (("explain", "secret-1"), ("show",)):
            code, out, err = run("ring", *verb, "--config", ended.config, admin=False)
            assert (code, fingerprint in out) == (0, True)
            assert f"using {ended.config} alone" in err

    def test_over_tcp_with_a_token(self, run, tmp_path, monkeypatch):
        (tmp_path / "token").write_text("a-token-for-the-admin-api")
        with AdminDaemon(tmp_path, admin={"listen": "127.0.0.1:0", "token_file": str(tmp_path / "token")}) as guarded:
            address = f"http://{ADMIN.search(str(guarded.stderr))[1]}"
            err = refused(run, "status", "--admin", address, admin=False)
            assert "set BALANCER_ADMIN_TOKEN" in err
            monkeypatch.setenv("BALANCER_ADMIN_TOKEN", "a-token-for-the-admin-api")
            assert "ide-01" in done(run, "status", "--admin", address, admin=False)
            assert "is draining" in done(run, "backend", "drain", "ide-01", "--admin", address, admin=False)


def test_several_pools(run, tmp_path):
    with AdminDaemon(tmp_path, others=["other"]) as daemon:
        where = ("--admin", daemon.socket)
        assert "choose a pool with --pool: ide, other" in refused(run, "pins", *where, admin=False)
        assert "has no pins" in done(run, "pins", "--pool", "other", *where, admin=False)
        assert "pool other: ring" in done(run, "ring", "show", *where, admin=False)
        assert "pool other: ring" in done(run, "status", *where, admin=False)


def test_the_real_command(daemon):
    def command(*args):
        return subprocess.run(
            [*COMMAND, *args, "--admin", daemon.socket],
            input=b"secret-1\n",
            capture_output=True,
            timeout=60,
            check=False,
        )

    pinned = command("pin", "-", "ide-02")
    assert (pinned.returncode, pinned.stderr) == (0, b"")
    assert daemon.place("secret-1") == "ide-02"
    assert command("backend", "drain", "ide-09").returncode == 1
