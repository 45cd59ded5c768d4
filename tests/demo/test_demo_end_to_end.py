"""`balancer demo` from the first line it prints to the last process it leaves behind, which is none."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from demos import COMMAND, DemoProcess, kill_part
from hosts import free_address
from websockets.exceptions import ConnectionClosed

from balancer.demo.main import HOSTS
from balancer.demo.users import NAMES, token_of


def test_users_stay_together_move_and_return():
    with DemoProcess() as demo:
        assert list(demo.places) == list(NAMES)
        assert set(demo.places.values()) == set(HOSTS), "every host has a user to watch"

        with demo.open("carol") as first, demo.open("carol") as second:
            assert first.hello["host"] == second.hello["host"] == demo.places["carol"] == "ide-02"
            assert first.wait_for_tabs(2) == [1, 2]
            first.ask("write notes.txt kept")
            said = demo.type("stop ide-02", "ide-02 has stopped")
            for tab in (first, second):
                with pytest.raises(ConnectionClosed):
                    tab.next("nothing more")
        assert "is not running" in demo.type("stop ide-02", "ide-02")

        with demo.open("carol") as moved:
            assert f"carol ({moved.hello['host']})" in said
            assert "no files here" in moved.ask("ls")
            assert f"carol   on {moved.hello['host']}" in demo.type("users", "carol")
            assert "carol and david" in demo.type("start ide-02", "ide-02 is running again")
        assert "is already running" in demo.type("start ide-02", "ide-02")

        while "carol   on ide-02" not in demo.type("users", "carol"):  # the balancer remembers her for a moment
            pass
        with demo.open("carol") as back:
            assert back.hello["host"] == "ide-02"
            assert back.ask("cat notes.txt") == "kept"

        assert demo.end(signal.SIGINT)[0] == 0
        assert demo.descendants_have_ended()
        assert not demo.cert.parent.exists()


def test_a_terminal_can_be_talked_to():
    with DemoProcess() as demo:
        demo.type("help", "stop ide-02")
        demo.press("\n")
        demo.read_until("demo> ")
        assert "Unknown command 'dance'" in demo.type("dance", "'dance'")
        assert "the hosts are ide-01, ide-02, ide-03." in demo.type("stop ide-09", "There is no host")
        assert "\n  stop ide-02 " in demo.type("stop", "Usage:")
        demo.press("hlp\x1b[D\x1b[De\n")  # the arrow to the left
        demo.read_until("quit                end the demo")
        demo.press("he\t\n")
        demo.read_until("quit                end the demo")
        demo.read_until("demo> ")
        kill_part(demo, "ide-01", "balancer.demo.leash")
        assert "signal SIGKILL" in demo.read_until("demo> ")
        with demo.open("ellen") as tab:  # whoever has a tab open does not hold up the end
            assert tab.ask("still here") == "still here"
            demo.press("quit\n")
            assert demo.process.wait() == 0
        assert demo.descendants_have_ended()


def test_operators_work_at_the_prompt():
    with DemoProcess() as demo:
        assert "ide-02 is draining" in demo.type("drain ide-02", "backend drain ide-02 --config")
        assert "carol   on ide-02" not in demo.type("users", "carol   on")
        assert "carol (ide-02)" in demo.type("ready ide-02", "Users who are sent elsewhere")
        assert "carol (ide-03)" in demo.type("pin carol ide-03", "open tunnels stay")
        assert "carol (ide-02)" in demo.type("unpin carol", "no longer pinned")
        assert "carol (" in demo.type("weight ide-02 0", "the weight of ide-02 is 0")
        assert 'there is no backend "ide-09"' in demo.type("drain ide-09", "drain ide-09 --config")
        assert "weight ide-02 0.5" in demo.type("weight ide-02", "Usage:")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_it_tells_to_try_works(terminal):
    with DemoProcess(terminal=terminal) as demo:
        tips = [line.strip() for line in demo.welcome.splitlines() if line.startswith("      ")]
        assert [tip.partition(" ")[0].rpartition("/")[2] for tip in tips] == ["curl", Path(sys.executable).name]
        for tip in tips:
            done = subprocess.run(tip, shell=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
            assert done.returncode == 0, done.stderr
            assert demo.places["alice"] in done.stdout


@pytest.mark.parametrize("lines", [0, 2])
def test_it_ends_with_the_reader_of_its_output(lines):
    with subprocess.Popen(
        [*COMMAND, str(free_address()[1])], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == b""


def test_without_a_terminal_it_runs_until_sigterm():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with DemoProcess(port, terminal=False) as demo:
            assert f"Port {port} is in use; the balancer listens on " in demo.welcome
            assert f":{port}/" not in demo.welcome
            with demo.open("alice") as tab:
                tab.ask("write notes.txt x")
            assert_no_token_in(demo.cert.parent)
            code, text = demo.end(signal.SIGTERM)
            assert code == 0
            assert "Traceback" not in text
            assert demo.descendants_have_ended()
            assert not demo.cert.parent.exists()


def test_a_balancer_that_dies_ends_the_demo():
    with DemoProcess(terminal=False) as demo:
        kill_part(demo, "--config", "balancer.demo.leash")
        assert demo.process.wait() == 1
        assert "the balancer ended unexpectedly: signal SIGKILL" in demo.read_until("SIGKILL")
        assert demo.descendants_have_ended()
        assert not demo.cert.parent.exists()


def test_nothing_outlives_a_demo_that_was_killed():
    with DemoProcess(terminal=False) as demo:
        demo.process.kill()
        assert demo.descendants_have_ended()


def test_a_port_that_is_none_is_refused():
    done = subprocess.run([*COMMAND, "65536"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stderr == "balancer demo: expected a port from 1 to 65535, not 65536\n"


def assert_no_token_in(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert token_of("alice").encode() not in path.read_bytes() + bytes(path)
