"""`balancer events` as the real command: it follows, and goes on after a restart of the daemon."""

import json
import re
import subprocess
import sys

import pytest
from admin_rig import AdminDaemon
from harness import Output
from wire import end_with_parent

from balancer.cli.command import main
from balancer.cli.events import _line


def test_it_goes_on_after_a_restart(tmp_path):
    with AdminDaemon(tmp_path) as daemon:
        process = subprocess.Popen(
            [sys.executable, "-m", "balancer", "events", "--json", "--admin", daemon.socket],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=end_with_parent,
        )
        lines, said = Output(process.stdout), Output(process.stderr)
        lines.wait_for(lambda line: "listener web accepts on 127.0.0.1:" in line)  # from before it looked
        daemon.ask("PUT", "./backends/ide-02/weight", {"weight": 2})
        lines.wait_for(lambda line: '"text": "weight of ide-02 2, by uid ' in line)
    try:
        said.wait_for(lambda line: "waiting for it to come back" in line)
        with AdminDaemon(tmp_path) as daemon:
            lines.wait_for(lambda line: '"kind": "gap"' in line and "the daemon has started again" in line)
            daemon.ask("PUT", "./backends/ide-02/weight", {"weight": 3})
            event = json.loads(lines.wait_for(lambda line: '"weight": 3' in line))
            assert (event["kind"], event["pool"], event["backend"]) == ("weight", "ide", "ide-02")
    finally:
        process.kill()
        process.wait()
        lines.join()
        said.join()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"time": 1e9, "kind": "pin", "text": "so", "pool": "ide"}, r"\d\d:\d\d:\d\d  pin         ide: so"),
        ({"time": 1e9, "kind": "pin", "text": "a\x9b2Jb\n", "pool": "ide"}, r".{8}  pin         ide: a\?2Jb\?"),
        ({"kind": "gap", "text": "so", "lost": 1}, " {8}  gap         so"),
        ({"time": 1e9, "kind": "health", "text": "so", "down": True, "pool": "ide"}, r".{8}  health      ide: so"),
        ({"time": 1e9, "kind": "panic", "text": "so", "panic": True, "pool": "ide"}, r".{8}  panic       ide: so"),
    ],
)
def test_lines_for_people(event, line):
    assert re.fullmatch(line, _line(event))


def test_nobody_there(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["balancer", "events", "--admin", str(tmp_path / "admin.sock")])
    assert main() == 3
    assert "cannot reach the daemon" in capsys.readouterr().err
