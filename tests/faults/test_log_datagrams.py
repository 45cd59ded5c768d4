"""Access log lines as datagrams: who receives them, and what becomes of them if nobody does."""

import contextlib
import re
import socket

import pytest
from harness import Daemon, listener, pool
from wire import Backend, answer, get

from balancer.errors import Refused
from balancer.proxy import log_datagrams
from balancer.proxy.log_datagrams import DatagramTarget, check_receiver

LINES = bytearray(b"one\ntwo\n")
MESSAGE = re.compile(r"<134>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ balancer \d+ access - (.*)", re.DOTALL)


@contextlib.contextmanager
def receiver(where):
    """A socket that receives datagrams."""
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind(where)
        sock.settimeout(20)
        yield sock


@pytest.fixture
def at_once(monkeypatch):
    """Targets try again at once."""
    monkeypatch.setattr(log_datagrams, "RETRY_AFTER", 0.0)


@pytest.mark.parametrize("kind", ["unix", "udp"])
def test_each_line_is_a_datagram(tmp_path, kind):
    with receiver(str(tmp_path / "log") if kind == "unix" else ("127.0.0.1", 0)) as sock:
        name = sock.getsockname()
        target = DatagramTarget(f"syslog:{name}" if kind == "unix" else f"syslog:127.0.0.1:{name[1]}")
        assert target.write(LINES) == (0, "")
        assert [sock.recv(100), sock.recv(100)] == [b"one", b"two"]
        target.close()


def test_an_entry_of_the_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(log_datagrams, "JOURNAL", str(tmp_path / "journal"))
    with receiver(str(tmp_path / "journal")) as sock:
        target = DatagramTarget("journal")
        assert target.write(bytearray(b"one\n")) == (0, "")
        assert sock.recv(100).splitlines() == [
            *(b"PRIORITY=6", b"SYSLOG_IDENTIFIER=balancer", b"BALANCER_LOGGER=access", b"MESSAGE=one")
        ]
        target.close()


def test_a_line_that_is_too_long_for_a_datagram_is_cut(tmp_path):
    with receiver(("127.0.0.1", 0)) as sock:
        target = DatagramTarget(f"syslog:127.0.0.1:{sock.getsockname()[1]}")
        assert target.write(bytearray(b"x" * 100_000 + b"\nnext\n")) == (0, "")
        assert [len(sock.recv(100_000)), sock.recv(100)] == [8192, b"next"]
        target.close()


def test_a_receiver_that_is_gone_and_back(tmp_path, at_once):
    target = DatagramTarget(f"syslog:{tmp_path / 'log'}")
    assert target.write(LINES) == (2, "No such file or directory")
    with receiver(str(tmp_path / "log")):
        assert target.write(LINES) == (0, "")
    (tmp_path / "log").unlink()
    assert target.write(LINES)[0] == 2
    with receiver(str(tmp_path / "log")) as sock:
        assert target.write(LINES) == (0, "")
        assert sock.recv(100) == b"one"
    target.close()


def test_it_is_not_tried_at_each_line(tmp_path):
    target = DatagramTarget(f"syslog:{tmp_path / 'log'}")
    assert target.write(LINES)[0] == 2
    with receiver(str(tmp_path / "log")):
        assert target.write(LINES) == (2, "No such file or directory")
        assert target.write(LINES, anew=True) == (0, "")
    target.close()


def test_a_receiver_that_takes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(log_datagrams, "_PATIENCE", 0.01)
    with receiver(str(tmp_path / "log")):
        target = DatagramTarget(f"syslog:{tmp_path / 'log'}")
        lost, reason = target.write(bytearray(b"line\n" * 10_000))
        assert 0 < lost < 10_000
        assert reason == log_datagrams.SLOW
        target.close()


def test_nobody_there_is_refused_with_advice(tmp_path):
    with pytest.raises(Refused, match="start the syslog daemon"):
        check_receiver(f"syslog:{tmp_path / 'none'}")
    check_receiver("syslog:192.0.2.1:514")


@pytest.mark.parametrize("kind", ["json", "haproxy", "combined"])
def test_the_daemon_sends_its_access_log(tmp_path, kind):
    backend = Backend()
    with receiver(str(tmp_path / "log")) as sock:
        log = {"access": f"syslog:{tmp_path / 'log'}", "access_format": kind}
        with Daemon(tmp_path, listeners=[listener()], pool=[pool(backend)], log=log) as daemon:
            with daemon.connect() as client:
                client.send(get("/x?token=secret-1"))
                peer = backend.accept()
                peer.request()
                peer.send(answer())
                assert client.response().status == 200
            text = MESSAGE.fullmatch(sock.recv(10_000).decode())[1]
    backend.close()
    assert "secret" not in text
    wanted = {"json": '"path":"/x"', "haproxy": '"GET /x HTTP/1.1"', "combined": '"GET /x HTTP/1.1" 200 '}
    assert wanted[kind] in text


def test_a_log_that_cannot_be_written_is_told_with_file_and_line(tmp_path):
    daemon = Daemon(tmp_path, pool=[pool("127.0.0.1:1")], log={"access": "/none/x"})
    told = daemon.stderr.wait_for(lambda line: "/none/x" in line)
    assert re.search(r"balancer\.toml:\d+: log > access: /none/x: No such file or directory; make the directory", told)
    daemon.__exit__(AssertionError)
