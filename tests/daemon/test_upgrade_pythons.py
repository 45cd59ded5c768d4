"""From one Python to another and back, each release installed as the documentation has it."""

import glob
import os
import subprocess
import sys
from pathlib import Path

import pytest
from process_rig import Tunnel, served
from test_upgrade import Upgrading, hosts, release  # noqa: F401  # fixtures
from wire import eventually

ROOT = Path(__file__).parents[2]
PLACES = ("/usr/bin", "/usr/local/bin", "/opt/*/bin", os.path.expanduser("~/.pyenv/versions/*/bin"))

pytestmark = pytest.mark.site


def others():
    """Interpreters that the balancer runs on, of another version than this one's, one of each."""
    found = {}
    for path in sorted(path for place in PLACES for path in glob.glob(f"{place}/python3.[0-9]*")):
        minor = path.rpartition("python3.")[2]
        if minor.isdecimal() and int(minor) >= 11 and int(minor) != sys.version_info.minor:
            found[int(minor)] = path
    return [found[minor] for minor in sorted(found)]


@pytest.mark.parametrize("python", others() or [pytest.param("", marks=pytest.mark.skip("no other Python is here"))])
def test_to_another_python_and_back(tmp_path, hosts, release, python):  # noqa: F811
    folder = tmp_path / "releases" / "other"
    for command in ([python, "-m", "venv", folder], [folder / "bin" / "pip", "install", "-q", ROOT]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{command[0]}: {done.stderr[-300:]}")
    with Upgrading(tmp_path, hosts) as daemon:
        tunnels = [Tunnel(daemon, hosts, "secret-1")]
        for goal in ("other", "1.1"):
            daemon.upgrade("--to", goal)
            assert all(tunnel.alive() for tunnel in tunnels)
            assert served(daemon, hosts)
            tunnels.append(Tunnel(daemon, hosts, "secret-1"))
        assert len({tunnel.host for tunnel in tunnels}) == 1
        (session,) = [each for each in daemon.get("/v1/sessions?limit=1")["sessions"]]
        assert daemon.ask("DELETE", f"/v1/sessions/{session['session']}").status == 200
        assert tunnels[0].client.exactly(4)[2:] == (1012).to_bytes(2)
        for tunnel in tunnels:
            tunnel.close()
        eventually(lambda: not daemon.get("/v1/status")["previous"])
