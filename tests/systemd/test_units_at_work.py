"""The unit files under a real systemd: start, restarts in every order, reload, the watchdog, the journal."""

import contextlib
import json

import pytest
from harness import pool
from installed import FILE, UNITS
from wire import get

HANDSHAKE = ("Connection: Upgrade", "Upgrade: raw")
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
TUNNELS = 200

pytestmark = pytest.mark.site

SOCKET, SERVICE = UNITS


def test_starts_as_installed(installed):
    assert installed.active() == ["active", "active"]
    assert all(installed.serves(host) for host in ("127.0.0.1", "::1"))
    status = installed.debian.show(SERVICE, "StatusText", "WatchdogUSec", "User")
    assert status.pop("StatusText").startswith("serving; connections: ")
    assert status == {"WatchdogUSec": "30s", "User": "balancer"}


@pytest.mark.parametrize("units", [(SOCKET, SERVICE), (SERVICE, SOCKET), (SOCKET,), (SERVICE,)], ids=" ".join)
def test_restarts(installed, units):
    for _ in range(10):
        before = installed.main_pid()
        installed.systemctl("restart", *units)
        assert installed.serves()
        installed.systemctl("start", *UNITS)  # the job of the socket alone does not wait for the service
        assert installed.active() == ["active", "active"]
        assert installed.main_pid() not in (0, before)


def test_a_reload_keeps_the_process(installed):
    before = installed.main_pid()
    installed.configure(pool=[pool(installed.backend, drain="5m")])
    installed.systemctl("reload", SERVICE)
    assert installed.main_pid() == before
    assert 'pool "ide" > drain: none -> 5m' in installed.debian.journal(SERVICE)


def test_a_refused_reload_fails_and_says_where(installed):
    before = installed.main_pid()
    written = installed.debian.run("cat", FILE).stdout
    installed.write(f"{written}workers = 2\nspeed = 9\n")
    assert installed.systemctl("reload", SERVICE, check=False).returncode == 1
    where = f"{FILE}:{written.count(chr(10)) + 2}: "
    assert [line for line in installed.debian.journal(SERVICE) if where in line]
    assert (installed.main_pid(), installed.active()) == (before, ["active", "active"])
    assert installed.serves()


def test_upgrades_keep_the_main_process_and_all_tunnels(installed):
    """By the verb and by the signal, each to the release that ``current`` leads to, under the hardened unit."""
    properties = ("MainPID", "NRestarts", "ExecMainStartTimestamp")
    before = installed.debian.show(SERVICE, *properties)
    installed.release("1.2")
    with contextlib.ExitStack() as stack:
        tunnels = [_tunnel(installed, stack, f"secret-{number}") for number in range(TUNNELS)]

        def held():
            for client, peer in tunnels:
                client.send(b"?")
                peer.send(b"!")
            return all(peer.exactly(1) == b"?" and client.exactly(1) == b"!" for client, peer in tunnels)

        installed.current("1.2")
        assert "upgraded from 1.1 to 1.2" in installed.balancer("upgrade", "--wait").stdout
        assert held()
        assert installed.serves()
        with installed.debian.follow(SERVICE) as journal:
            installed.current("1.1")
            installed.systemctl("kill", "--signal=USR2", "--kill-whom=main", SERVICE)
            journal.wait_for(lambda line: "version 1.1 serves in place of 1.2" in line)
        assert held()
        assert installed.serves()
        shown = installed.debian.show(SERVICE, *properties, "StatusText", "ActiveState", "WatchdogUSec")
        assert shown.pop("StatusText") == f"serving; connections: {TUNNELS}, tunnels: {TUNNELS}"
        assert shown == {**before, "ActiveState": "active", "WatchdogUSec": "30s"}
        (previous,) = json.loads(installed.balancer("status", "--json").stdout)["previous"]
        assert (previous["version"], previous["tunnels"]) == ("1.1", TUNNELS)


def _tunnel(installed, stack, token):
    """Both ends of an open tunnel."""
    client = stack.enter_context(installed.connect())
    client.send(get(f"/?token={token}", *HANDSHAKE))
    peer = stack.enter_context(installed.backend.accept())
    peer.head()
    peer.send(AGREED)
    assert client.head().status == 101
    return client, peer


def test_the_watchdog_restarts_a_daemon_that_hangs(installed):
    installed.debian.write(f"/etc/systemd/system/{SERVICE}.d/soon.conf", "[Service]\nWatchdogSec=2s\n")
    installed.systemctl("daemon-reload")
    installed.systemctl("restart", SERVICE)
    before = installed.main_pid()
    with installed.debian.follow(SERVICE) as journal:
        installed.debian.run("kill", "-STOP", before)
        journal.wait_for(lambda line: "Watchdog timeout" in line)
        journal.wait_for(lambda line: "Current thread" in line)
        journal.wait_for(lambda line: line.startswith("Started "))
    assert installed.main_pid() not in (0, before)
    assert installed.serves()


def test_a_client_starts_what_was_stopped(installed):
    installed.systemctl("stop", SERVICE)
    assert installed.active() == ["active", "inactive"]
    assert installed.serves()
    installed.systemctl("start", SERVICE)  # returns when the start under way is complete
    assert installed.active() == ["active", "active"]


def test_to_stop_the_socket_stops_both(installed):
    installed.systemctl("stop", SOCKET)
    assert installed.active() == ["inactive", "inactive"]
    with pytest.raises(ConnectionRefusedError):
        installed.connect()
    installed.systemctl("start", SOCKET)
    assert installed.active() == ["active", "inactive"]
    assert installed.serves()


def test_starts_once_the_file_is_corrected_while_clients_wait(installed):
    written = installed.debian.run("cat", FILE).stdout
    installed.write(f"{written}speed = 9\n")
    with installed.debian.follow(SERVICE) as journal:
        assert installed.systemctl("restart", SERVICE, check=False).returncode == 1
        said = installed.debian.journal(SERVICE, "--priority=err")
        assert [line for line in said if f"{FILE}:{written.count(chr(10)) + 1}: speed: unknown key" in line]
        with installed.connect() as client:
            client.send(get())
            for attempt in range(2, 5):
                journal.wait_for(lambda line, attempt=attempt: f"restart counter is at {attempt}" in line)
            installed.write(written)
            journal.wait_for(lambda line: line.startswith("Started "))
            assert installed.answers(client)
    assert installed.active() == ["active", "active"]


def test_warnings_have_their_priority_in_the_journal(installed):
    warnings = installed.debian.journal(SERVICE, "--priority=warning")
    assert [line for line in warnings if "tokens are sent in clear text at 0.0.0.0:443" in line]
    assert not [line for line in warnings if "accepts on" in line]
