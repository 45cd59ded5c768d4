"""The benchmark of scrapes says what it should, of a small daemon."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.site


def test_a_small_daemon_is_scraped():
    few = ["--backends", "3", "--workers", "1", "--scrapes", "2"]
    done = subprocess.run([sys.executable, "-m", "bench.scrape", *few], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 backends, 1 workers" in done.stdout
    assert "target met" in done.stdout
