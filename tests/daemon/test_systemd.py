"""Notices and the watchdog, spoken with the real daemon."""

import os
import signal
import socket
import time
from contextlib import closing, contextmanager

import pytest
from harness import listener, pool
from manager_rig import Unit, connect, listening
from releases import make_release
from wire import answer, get

from balancer.daemon.systemd import INTERVAL, Manager

HANDSHAKE = ("Connection: Upgrade", "Upgrade: raw")
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


@pytest.fixture
def notify(tmp_path):
    return str(tmp_path / "notify")


@contextmanager
def tunnel(unit, backend):
    """An open tunnel through the daemon."""
    client = connect(*unit.accepts())
    client.send(get("/?token=secret-1", *HANDSHAKE))
    peer = backend.accept()
    peer.head()
    peer.send(AGREED)
    assert client.head().status == 101
    with client, peer:
        yield


def test_says_when_it_serves_and_when_it_drains(tmp_path, backend, notify):
    with Unit(tmp_path, notify=notify, listener=[listener()], pool=[pool(backend)]) as unit:
        notice = unit.notice("READY=1")
        assert notice["STATUS"] == "serving; connections: 0, tunnels: 0"
        assert "WATCHDOG" not in notice
        with tunnel(unit, backend):
            unit.process.send_signal(signal.SIGTERM)
            notice = unit.notice("STOPPING=1")
            assert notice["STATUS"] == "draining; connections: 1, tunnels: 1"
            assert int(notice["EXTEND_TIMEOUT_USEC"]) >= 2 * INTERVAL * 1e6, "the next word would come too late"
            assert "READY" not in notice
        assert unit.ended()


def test_why_it_does_not_start_is_an_error_in_the_journal(tmp_path, backend):
    wrong = [listener(bind=["here:1", "there:2"])]
    with Unit(tmp_path, listener=wrong, pool=[pool(backend)]) as unit:
        said = [line for line in unit.failed().splitlines() if "expected an address" in line]
    assert [line[:3] for line in said] == ["<3>"] * 2
    assert all(f"{tmp_path}/balancer.toml:1: " in line for line in said)


def test_an_abstract_socket_is_as_good(tmp_path, backend):
    notify = f"@balancer-test-{os.getpid()}"
    with Unit(tmp_path, notify=notify, listener=[listener()], pool=[pool(backend)]) as unit:
        unit.notice("READY=1")
        unit.stop()


def test_is_not_ready_before_it_knows_which_backends_are_up(tmp_path, backend, notify):
    pools = [pool(backend, health={"type": "http", "timeout": "9s"})]
    with Unit(tmp_path, notify=notify, listener=[listener()], pool=pools) as unit:
        assert "READY" not in unit.notice("STATUS=starting; connections: 0, tunnels: 0")
        with backend.accept() as probe:
            probe.request()
            assert unit.silent()
            probe.send(answer())
            unit.notice("READY=1")
        unit.stop()


def test_feeds_the_watchdog_to_the_end_of_the_drain(tmp_path, backend, notify):
    variables = {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "SELF"}
    with Unit(tmp_path, notify=notify, variables=variables, listener=[listener()], pool=[pool(backend)]) as unit:
        for _ in range(3):
            unit.notice("WATCHDOG=1")
        with tunnel(unit, backend):
            unit.process.send_signal(signal.SIGTERM)
            unit.notice("STOPPING=1")
            for _ in range(3):
                assert "EXTEND_TIMEOUT_USEC" in unit.notice("WATCHDOG=1")
        assert unit.ended()


def test_an_upgrade_is_a_reload_that_keeps_the_main_process(tmp_path, backend, notify):
    """With a socket and a watchdog of the manager's, both of which the next version goes on with."""
    make_release(tmp_path / "releases" / "1.2", "1.2")
    (tmp_path / "releases" / "current").symlink_to("1.2")
    config = {"pool": [pool(backend)], "upgrade": {"releases": str(tmp_path / "releases"), "prove": "0s"}}
    about = {"notify": notify, "variables": {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "SELF"}}
    with (
        listening() as (sock, address),
        Unit(tmp_path, handed=[sock], listener=[listener(bind=[address])], **about, **config) as unit,
    ):
        unit.notice("READY=1")
        unit.process.send_signal(signal.SIGUSR2)
        assert int(unit.notice("RELOADING=1")["MONOTONIC_USEC"])
        with tunnel(unit, backend):  # a worker of the version before has it
            notice = unit.notice("WATCHDOG=1")
            while "READY" not in notice:
                assert notice["STATUS"].startswith("upgrading; ")
                notice = unit.notice("WATCHDOG=1")
            assert notice["STATUS"] == "serving; connections: 1, tunnels: 1"
            for _ in range(3):
                unit.notice("WATCHDOG=1")
        connect(address).close()


def test_does_not_feed_the_watchdog_of_another_process(tmp_path, backend, notify):
    variables = {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}
    with Unit(tmp_path, notify=notify, variables=variables, listener=[listener()], pool=[pool(backend)]) as unit:
        assert "WATCHDOG" not in unit.notice("READY=1")
        unit.process.send_signal(signal.SIGTERM)
        assert "WATCHDOG" not in unit.notice("STOPPING=1")
        assert unit.ended()


def test_serves_without_a_manager_who_listens(tmp_path, backend):
    variables = {"NOTIFY_SOCKET": "/nonexistent/notify"}
    with Unit(tmp_path, variables=variables, listener=[listener()], pool=[pool(backend)]) as unit:
        unit.stderr.wait_for(lambda line: line.startswith("<4>") and "NOTIFY_SOCKET is of no use" in line)
        connect(*unit.accepts()).close()
        unit.stop()


def test_outlives_the_manager(tmp_path, backend, notify):
    variables = {"WATCHDOG_USEC": "200000"}
    with Unit(tmp_path, notify=notify, variables=variables, listener=[listener()], pool=[pool(backend)]) as unit:
        unit.notice("READY=1")
        unit.notices.close()
        unit.stderr.wait_for(lambda line: "does not listen any more" in line)
        connect(*unit.accepts()).close()
        unit.stop()


@pytest.mark.parametrize("path", ["/nonexistent/notify", "vsock:2:9", "@", "x" * 200])
def test_an_address_of_no_use_is_said_once(caplog, path):
    with closing(Manager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"})) as manager:
        for _ in range(2):
            manager.tell("serving", "", alive=True)
    (said,) = caplog.messages
    assert said.startswith("NOTIFY_SOCKET is of no use: ")


@pytest.fixture
def hears():
    """A socket that a manager listens at, and its name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind("")  # the system finds an abstract name
        yield sock, "@" + sock.getsockname()[1:].decode()


def test_no_word_for_the_watchdog_unless_all_live(hears):
    sock, name = hears
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "HOME": "/"}
    with closing(Manager(environ)) as manager:
        assert environ == {"HOME": "/"}, "its children must not speak for it"
        manager.tell("serving", "well", alive=False)
        assert sock.recv(4096) == b"READY=1\nSTATUS=serving; well"
        manager.tell("serving", "well", alive=True)
        assert sock.recv(4096) == b"WATCHDOG=1\nREADY=1\nSTATUS=serving; well"


@pytest.mark.parametrize(("usec", "interval"), [("4000000", 2), ("30000000", INTERVAL), ("", INTERVAL)])
def test_beats_twice_as_often_as_the_watchdog_looks(hears, usec, interval):
    with closing(Manager({"NOTIFY_SOCKET": hears[1], "WATCHDOG_USEC": usec})) as manager:
        assert manager.interval == interval


def test_says_when_a_reload_begins(hears):
    sock, name = hears
    with closing(Manager({"NOTIFY_SOCKET": name})) as manager:
        manager.reloading()
        first, second = sock.recv(4096).decode().split("\n")
        assert first == "RELOADING=1"
        assert abs(int(second.removeprefix("MONOTONIC_USEC=")) - time.monotonic_ns() // 1000) < 60e6


def test_a_manager_too_busy_to_listen_holds_nothing_up(hears):
    sock, name = hears
    with closing(Manager({"NOTIFY_SOCKET": name})) as manager:
        for _ in range(10_000):  # more than any queue takes (net.unix.max_dgram_qlen)
            manager.tell("serving", "")
        while True:
            try:
                sock.recv(4096)
            except BlockingIOError:
                break
        manager.tell("draining", "")
        assert sock.recv(4096).startswith(b"STOPPING=1\n")
