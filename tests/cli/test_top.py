"""`balancer top` as the real command, in a terminal."""

import re
import signal
import sys

import pytest
from admin_rig import NAMES, AdminDaemon
from hypothesis import given
from hypothesis import strategies as st
from screen import Screen
from wire import answer, get

from balancer.cli.command import main
from balancer.cli.terminal import _keys, _unfinished
from balancer.cli.top_view import Sample, short, table

HELP = "up/down select"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    with AdminDaemon(tmp_path_factory.mktemp("top"), hosts, pool_keys={"linger": "100ms"}) as running:
        yield running


@pytest.fixture
def top(daemon):
    opened = []

    def start(*args, **more):
        opened.append(Screen("top", "--admin", daemon.socket, "--interval", "100ms", *args, **more))
        return opened[-1]

    yield start
    for each in opened:
        each.__exit__()
    daemon.reset()


def test_what_it_shows(daemon, hosts, tunnels, top):
    screen = top(columns=150)
    screen.wait_for(HELP)
    assert screen.other
    assert re.search(r"^balancer \S+ at \S+, up \d", screen.text, re.MULTILINE)
    assert "pool ide  3 of 3 backends take new users; 0 users, 0 tunnels, 0 pins" in screen.text
    assert re.search(r"^  ide-02 +127\.0\.0\.1:\d+ +ready +up +1 ", screen.text, re.MULTILINE)
    tunnels("secret-1")
    home = daemon.place("secret-1")
    screen.wait_for(rf"^  {home} .* 1 +1 +1 ")
    with daemon.connect() as client:
        client.send(get("/?token=secret-1"))
        peer = hosts[NAMES.index(home)].accept()
        peer.request()
        peer.send(answer(b"hello", "Connection: close"))
        assert client.response().status == 200
        peer.close()
    screen.wait_for(r"answers/s  2xx 0$")
    assert re.search(r"answers/s  2xx [1-9]", screen.raw)  # for one tenth of a second
    assert "\x1b[32m" in screen.raw
    assert "\x1b[2J" not in screen.raw[screen.raw.index(HELP) :]  # nothing flickers:
    assert screen.settle(0.5) < 500  # only what has changed is written
    screen.type("q")
    assert screen.ended() == 0


def test_draining_and_back(daemon, top):
    screen = top()
    screen.wait_for(HELP)
    screen.type("\x1b[Bd")
    screen.wait_for(r"^drain ide-02 of pool ide\? 0 users with 0 tunnels connected; press y to confirm")
    screen.type("n")
    screen.wait_for("^ide-02 is unchanged")
    assert daemon.backend("ide-02")["state"] == "ready"
    screen.type("d")
    screen.wait_for(r"^drain ide-02")
    screen.type("y")
    screen.wait_for("^ide-02 is now in state drain")
    assert daemon.backend("ide-02")["state"] == "drain"
    screen.wait_for(r"^  ide-02 +(\S+ +)?drain ")
    screen.type("r")
    screen.wait_for(r"^ready ide-02 of pool ide\?")
    screen.type("y")
    screen.wait_for("^ide-02 is now in state ready")
    assert daemon.backend("ide-02")["state"] == "ready"
    for name in ("ide-01", "ide-02"):
        daemon.ask("PUT", f"./backends/{name}/state", {"state": "drain"})
    screen.type("\x1b[Hd\x1b[6~")  # moving on is no yes
    screen.wait_for("^ide-01 is unchanged")
    screen.type("\x1b[Fdy")
    screen.wait_for("^this would leave no ready backend")
    screen.type("\x03")
    assert screen.ended() == 0


def test_small_terminals_without_colours(top):
    screen = top(columns=40, rows=8, NO_COLOR="1")
    screen.wait_for(HELP[:10])
    screen.wait_for("^  BACKEND +STATE")
    assert "ADDRESS" not in screen.text
    screen.type("\x1b[F")
    screen.wait_for("^  ide-03 ")
    screen.resize(150, 30)
    screen.wait_for("ADDRESS")
    screen.wait_for("^  ide-01 ")
    screen.resize(12, 3)
    screen.wait_for("^  ide-03")
    assert not re.search(r"\x1b\[3[0-9]m", screen.raw)
    assert "\x1b[7m" in screen.raw  # what is selected can be seen
    screen.resize(1, 1)
    screen.settle(0.2)
    screen.process.send_signal(signal.SIGTERM)
    assert screen.ended() == 128 + signal.SIGTERM


def test_it_goes_on_after_a_restart(tmp_path):
    with AdminDaemon(tmp_path) as daemon:
        screen = Screen("top", "--admin", daemon.socket, "--interval", "100ms")
        screen.wait_for(HELP)
    with screen:
        screen.wait_for("cannot reach the daemon")
        with AdminDaemon(tmp_path) as daemon:
            daemon.ask("PUT", "./backends/ide-03/state", {"state": "maint"})
            screen.wait_for(r"^  ide-03 +(\S+ +)?maint ")
            assert "cannot reach the daemon" not in screen.text
            screen.type("q")
            assert screen.ended() == 0


def test_no_terminal_and_no_daemon(daemon, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["balancer", "top", "--admin", daemon.socket])
    assert main() == 1
    assert "balancer status --json" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["balancer", "top", "--admin", f"{daemon.socket}.none"])
    assert main() == 3


@given(st.lists(st.sampled_from(["\x1b[A", "\x1b[6~", "\x1bOF", "d", "y", "\x1b", "\r", "é", "\x00"])))
def test_keys(pressed):
    data = "".join(pressed).encode()
    found = list(_keys(data))
    assert found.count("d") == pressed.count("d")
    assert found.count("y") == pressed.count("y")
    assert not _unfinished(data + b"q")


def test_short_numbers():
    cases = {0: "0", 0.04: "0.0", 0.25: "0.2", 9.96: "10", 999: "999", 999.6: "1.0k", 56_000: "56k", 1.2e6: "1.2M"}
    assert {number: short(number) for number in cases} == cases
    assert short(None) == "-"


@given(st.integers(1, 200), st.text("abcdefgh", min_size=1, max_size=60))
def test_no_line_is_wider_than_the_terminal(width, name):
    backend = {
        "name": name, "address": "10.0.0.1:1", "state": "ready", "up": False, "why_down": "unhealthy: " + name,
        "health": None, "weight": 1.0, "backup": False, "ramp": None, "share": 0.5,
        "users": 3, "tunnels": 4, "sessions": 5,
        "requests": 7, "connect_errors": 1, "response_errors": 0, "bytes_sent": 1, "bytes_received": 1 << 40,
    }  # fmt: skip
    pool = {
        "name": "ide", "panic": True, "healthy": 0.1,
        "available": 1, "backends": 1, "users": 3, "tunnels": 4, "pins": 0, "strays": None,
        "requests": {"2xx": 1}, "decisions": {"owner": 1}, "backend": [backend],
    }  # fmt: skip
    sample = Sample({"started": 1, "pools": [pool], "listeners": {}}, 1.0)
    sample = Sample({"started": 1, "pools": [pool], "listeners": {}}, 2.0, sample)
    lines, place = table(sample, ("ide", name), width)
    heads, selected = lines[place - 1], lines[place]
    assert "".join(cell.text for cell in heads).startswith("  BACKEND")
    assert name[:28] in "".join(cell.text for cell in selected)
    wide = sum(len(cell.text) for cell in heads)
    assert wide <= width or "STATE" not in "".join(cell.text for cell in heads)
