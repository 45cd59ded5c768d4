"""An access log that cannot be written costs lines, which are counted, and no user; it is tried again."""

import json
import os
import resource
import signal
import threading

import pytest
from admin_rig import NAMES, AdminDaemon
from harness import Daemon, pool
from process_rig import command, served
from scrape import counters
from wire import Backend, answer, eventually, get

from balancer.proxy import log_target
from balancer.proxy.log_target import LogTarget

LINES = bytearray(b"a line of thirty-two characters\n" * 100)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(log_target, "RETRY_AFTER", 0)


def test_a_worker_that_restarts_without_the_folder_serves(tmp_path):
    """And writes again once the folder is there."""
    hosts = [Backend() for _ in NAMES]
    folder = tmp_path / "log"
    folder.mkdir()
    file = folder / "access.log"
    lost = ("balancer_log_lines_dropped_total",)
    with AdminDaemon(tmp_path, hosts, log={"access": str(file)}) as daemon:
        served(daemon, hosts)
        eventually(lambda: file.read_text())
        folder.rename(tmp_path / "elsewhere")
        (worker,) = daemon.get("/v1/status")["workers"]
        os.kill(worker["pid"], signal.SIGKILL)
        served(daemon, hosts)
        served(daemon, hosts)
        daemon.stderr.wait_for(lambda line: f"access log {file}: No such file or directory; lines are lost" in line)
        eventually(lambda: counters(daemon.socket).get(lost, 0) == 2)
        folder.mkdir()

        def written():
            served(daemon, hosts)
            return file.exists() and file.read_text().splitlines()

        lines = eventually(written)
        assert {json.loads(line)["status"] for line in lines} == {200}
        daemon.stderr.wait_for(lambda line: f"access log {file} is written again; " in line)
        assert str(daemon.stderr).count("No such file or directory") == 1
        assert {each["starts"] for each in daemon.get("/v1/status")["processes"] if each["name"] == "worker 0"} == {2}
    for host in hosts:
        host.close()


def test_a_full_disk_is_called_one(tmp_path, backend):
    with Daemon(tmp_path, pool=[pool(backend)], log={"access": "/dev/full"}) as daemon:
        with daemon.connect() as client:
            client.send(get("/?token=secret-1"))
            peer = backend.accept()
            peer.request()
            peer.send(answer())
            assert client.response().status == 200
        daemon.stderr.wait_for(lambda line: "access log /dev/full: the disk is full; lines are lost" in line)


def test_status_and_the_metric_call_it_one_too(tmp_path):
    hosts = [Backend() for _ in NAMES]
    with AdminDaemon(tmp_path, hosts, log={"access": "/dev/full"}) as daemon:
        served(daemon, hosts)
        lost = ("balancer_log_lines_lost_total", ("reason", "disk_full"))
        eventually(lambda: counters(daemon.socket).get(lost, 0) == 1)
        assert "1 access log line lost: its disk is full; make room" in command(daemon, "status")[0]
    for host in hosts:
        host.close()


def test_a_target_that_fails_and_works_again(tmp_path, at_once):
    path = tmp_path / "log" / "access.log"
    target = LogTarget(path)
    assert target.write(LINES) == (100, "No such file or directory")
    path.parent.mkdir()
    assert target.write(LINES) == (0, "")
    path.parent.joinpath("access.log").unlink()
    target.close()
    target = LogTarget(path)
    assert target.write(LINES) == (0, "")
    assert path.read_bytes() == LINES
    target.close()


def test_it_is_not_tried_at_each_line(tmp_path):
    path = tmp_path / "log" / "access.log"
    target = LogTarget(path)
    for _ in range(2):
        assert target.write(LINES) == (100, "No such file or directory")
        path.parent.mkdir(exist_ok=True)
    assert not path.exists()


@pytest.mark.parametrize("room", [0, 1, 31, 32, 33, 64, 1000])
def test_a_line_that_was_cut_off_spoils_no_other(tmp_path, at_once, room):
    path = tmp_path / "access.log"
    target = LogTarget(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        lost, reason = target.write(LINES)
        again, _ = target.write(LINES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert lost == 100 - room // 32
    assert again == 100
    assert reason == "File too large"
    assert target.write(LINES) == (0, "")
    target.close()
    lines = path.read_bytes().split(b"\n")
    assert lines.count(LINES[:31]) == room // 32 + 100 + (room % 32 == 31), "and what it lacked is a newline at most"
    assert len(lines) == room // 32 + 100 + (room % 32 > 0) + 1


def test_a_descriptor_in_use_is_closed_by_its_thread(tmp_path):
    """Its number must not be another file's while somebody writes to it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    target = LogTarget(path)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(target.write(LINES * 1000)))
    thread.start()
    eventually(lambda: target._fd >= 0)
    fd = target._fd
    eventually(lambda: os.fstat(fd) and not outcome)
    target.close()
    os.fstat(fd)  # it is open
    os.set_blocking(reading, True)
    with open(reading, "rb") as file:
        assert len(file.read()) == 1000 * len(LINES)
    thread.join()
    assert outcome == [(0, "")]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
