"""The unit files: what systemd thinks of them, and that they fit the manual, the daemon and each other."""

import configparser
import ctypes
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from harness import listener, pool
from manager_rig import Unit, connect
from wire import answer, get

ROOT = Path(__file__).parents[2]
SERVICE, SOCKET = ROOT / "systemd/balancer.service", ROOT / "systemd/balancer.socket"
COMMAND = "/opt/balancer/releases/current/bin/balancer"
MANUAL = tomllib.loads((ROOT / "conf/prod.toml").read_text())
PR_SET_MDWE = 65
MAP = "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"

analyzed = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


class Keys(dict):
    """A key may stand more than once; its values are kept apart by newlines."""

    def __setitem__(self, key, value):
        super().__setitem__(key, [*self[key], *value] if key in self and isinstance(value, list) else value)


def section(path, name):
    parser = configparser.RawConfigParser(dict_type=Keys, strict=False, delimiters="=")
    parser.optionxform = str
    parser.read(path)
    return parser[name]


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@analyzed
def test_systemd_finds_nothing_wrong(tmp_path):
    copy = tmp_path / SERVICE.name
    copy.write_text(SERVICE.read_text().replace(COMMAND, shutil.which("true")))  # it looks for the program
    shutil.copy(SOCKET, tmp_path)
    result = analyze("verify", "--man=no", copy, tmp_path / SOCKET.name)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@analyzed
def test_is_exposed_to_little():
    result = analyze("security", "--offline=true", "--threshold=15", SERVICE)
    assert result.returncode == 0, result.stdout


def test_the_socket_unit_has_the_addresses_of_the_manual():
    addresses = section(SOCKET, "Socket")["ListenStream"].split("\n")
    assert addresses == MANUAL["listener"][0]["bind"]
    assert section(SOCKET, "Socket")["BindIPv6Only"] == "ipv6-only"


def test_the_service_may_write_where_the_manual_has_it_write():
    service = section(SERVICE, "Service")
    assert MANUAL["state_dir"] == f"/var/lib/{service['StateDirectory']}"
    assert MANUAL["admin"]["socket"] == f"/run/{service['RuntimeDirectory']}/admin.sock"


def test_has_descriptors_for_as_many_connections_as_there_may_be():
    assert int(section(SERVICE, "Service")["LimitNOFILE"]) > 2 * MANUAL["limits"]["max_connections"]


def forbid_new_code():
    """What MemoryDenyWriteExecute is for, by the kernel's own means (PR_SET_MDWE of prctl(2), Linux 6.3)."""
    assert ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0) == 0


def forbids_new_code():
    probe = [sys.executable, "-c", MAP]
    try:
        forbidden = subprocess.run(probe, capture_output=True, preexec_fn=forbid_new_code, check=False)
    except subprocess.SubprocessError:
        return False
    return forbidden.returncode != 0 and subprocess.run(probe, check=False).returncode == 0


@pytest.mark.skipif(not forbids_new_code(), reason="this kernel cannot forbid memory that is written and executed")
def test_runs_without_memory_that_is_written_and_executed(tmp_path, backend):
    tls = {"certificates": [{"cert": ROOT / "conf/tls/ide.example.crt", "key": ROOT / "conf/tls/ide.example.key"}]}
    listeners = [listener(), listener("safe", tls=tls)]
    with Unit(tmp_path, prepare=forbid_new_code, listener=listeners, pool=[pool(backend)]) as unit:
        with connect(unit.accepts(2)[0]) as client:
            client.send(get())
            peer = backend.accept()
            peer.request()
            peer.send(answer(b"here"))
            assert client.response().body == b"here"
        unit.stop()


def test_a_reload_waits_for_its_result():
    (command,) = [section(SERVICE, "Service")["ExecReload"]]
    assert command == f"{COMMAND} reload --config /etc/balancer/balancer.toml"


def test_a_restarted_socket_restarts_the_service_first():
    unit = section(SERVICE, "Unit")
    assert SOCKET.name in unit["PartOf"].split()
    assert SOCKET.name in unit["After"].split()
    assert SOCKET.name not in unit.get("Requires", "").split()
