"""A module on a leash ends with whoever started it."""

import os
import signal
import subprocess
import sys

import pytest
from hosts import free_address

LEASH = [sys.executable, "-m", "balancer.demo.leash"]


@pytest.fixture
def command(tmp_path):
    return [*LEASH, "balancer.demo.host", "ide-01", "{}:{}".format(*free_address()), str(tmp_path / "disk")]


def test_it_runs_the_module_as_python_does():
    command = [*LEASH, "balancer.demo.host"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith("usage: python -m balancer.demo.host")
        assert process.wait(timeout=60) == 2


def test_the_end_of_its_input_ends_it(command):
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.write(b"input is not the end")
        process.stdin.close()
        assert process.wait(timeout=60) == -signal.SIGTERM


def test_it_ends_with_a_starter_that_was_killed(command):
    starter = f"""
import subprocess, sys
child = subprocess.Popen({command!r}, stdin=subprocess.PIPE, stdout=sys.stdout)
print(child.pid, flush=True)
child.wait()
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        os.kill(child, 0)
        process.kill()
        assert process.stdout.read() == b""  # until the child, too, has let go of the pipe
