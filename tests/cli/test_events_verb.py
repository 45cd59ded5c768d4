"""`balancer events` as the real command: it follows, and goes on after a restart of the daemon."""

import json
import subprocess
import sys

import pytest
from admin_rig import AdminDaemon
from harness import Output
from wire import end_with_parent

COMMAND = [sys.executable, "-m", "balancer", "events", "--admin"]


@pytest.fixture
def follow():
    started = []

    def start(daemon, *args):
        process = subprocess.Popen(
            [*COMMAND, daemon.socket, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=end_with_parent,
        )
        outputs = Output(process.stdout), Output(process.stderr)
        started.append((process, outputs))
        return outputs

    yield start
    for process, outputs in started:
        process.kill()
        process.wait()
        for output in outputs:
            output.join()


def test_it_goes_on_after_a_restart(tmp_path, follow):
    with AdminDaemon(tmp_path) as daemon:
        lines, said = follow(daemon)
        lines.wait_for(lambda line: "listener    listener web accepts on 127.0.0.1:" in line)
        objects, _ = follow(daemon, "--json", "--last", "1")
        first = json.loads(objects.wait_for(lambda line: line))
        daemon.ask("PUT", "./backends/ide-02/weight", {"weight": 2})
        lines.wait_for(lambda line: "weight      ide: weight of ide-02 2, by uid " in line)
    said.wait_for(lambda line: "waiting for another" in line)
    with AdminDaemon(tmp_path) as daemon:
        lines.wait_for(lambda line: "gap" in line and "the daemon has started again" in line)
        daemon.ask("PUT", "./backends/ide-02/weight", {"weight": 3})
        lines.wait_for(lambda line: "weight of ide-02 3" in line)
        event = json.loads(objects.wait_for(lambda line: '"weight": 3' in line))
    assert (event["kind"], event["pool"], event["backend"]) == ("weight", "ide", "ide-02")
    assert first["kind"] == "listener"


def test_nobody_there(tmp_path):
    done = subprocess.run([*COMMAND, tmp_path / "admin.sock"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot be reached" in done.stderr
