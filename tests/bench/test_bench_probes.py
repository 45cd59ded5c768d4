"""The benchmark of health checks says what it should, of a small pool."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.site


def test_probes_of_every_kind_pass():
    few = ["--backends", "40", "--seconds", "0.5"]
    done = subprocess.run([sys.executable, "-m", "bench.probes", *few], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["tcp", "http", "websocket"]
    assert "target met" in done.stdout
