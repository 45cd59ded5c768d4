"""The parts of the benchmark: clients and backends understand each other, and notice what is wrong."""

import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.http.frames import CLOSE, NORMAL, PING, client_frame
from bench.backends import backends
from bench.load import LoadSpec, Wrk, load, ours
from bench.messages import field, frame, request, switching, unmasked
from bench.proc import memory, tree
from bench.process import BenchError, server
from bench.scenarios import SCENARIOS

KINDS = sorted({"idle", *(scenario.kind for scenario in SCENARIOS)})


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with backends(tmp_path_factory.mktemp("backends"), 1, small=False) as ports:
        yield ports[0]


@pytest.mark.parametrize("kind", KINDS)
def test_clients_and_backends_understand_each_other(kind, port, tmp_path):
    with ours(LoadSpec(kind, port, None, 2), tmp_path) as generator:
        first, second = generator.run(0.02), generator.run(0)
    assert first.operations >= 2
    assert second.operations >= 2  # no run ends before everybody had an answer
    assert 0.02 <= first.seconds < 5
    assert 0 < first.p50 <= first.p99 <= first.longest


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("kind", ["browser", "post"])
def test_wrk_sends_what_our_clients_send(kind, port, tmp_path):
    with load(LoadSpec(kind, port, None, 2), tmp_path) as generator:
        assert isinstance(generator, Wrk)
        assert generator.run(0.1).operations > 2


def test_a_refused_handshake_is_no_measurement(tmp_path):
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    for kind, complaint in (("echo", "the handshake was refused"), ("get", "not 2xx")):
        with (
            one_answer(answer, tmp_path) as port,
            pytest.raises(BenchError, match=complaint),
            ours(LoadSpec(kind, port, None, 1), tmp_path) as generator,
        ):
            generator.run(0)


def test_a_connection_that_ends_is_no_measurement(tmp_path):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"
    with (
        one_answer(answer, tmp_path) as port,
        ours(LoadSpec("get", port, None, 1), tmp_path) as generator,
        pytest.raises(BenchError, match="closed 1 bytes too early"),
    ):
        generator.run(0)


def one_answer(answer, folder):
    """A server that gives everybody this answer and closes; the context gives its port."""
    script = (
        "import socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    with listener.accept()[0] as sock:\n"
        f"        sock.recv(9999) and sock.sendall({answer!r})\n"
    )
    return _Printed([sys.executable, "-c", script])


class _Printed:
    def __init__(self, command):
        self._command = command

    def __enter__(self):
        self._child = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        return int(self._child.stdout.readline())

    def __exit__(self, *_):
        self._child.kill()
        self._child.communicate()


def test_a_server_that_ends_is_named_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    with (
        pytest.raises(BenchError, match=r"proxy does not listen on port 1:\n  no such option"),
        server("proxy", command, tmp_path, [1]),
    ):
        pass


def test_the_handshake_is_that_of_the_standard():
    head = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in switching(head)  # the example of RFC 6455, 1.3


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(0, 15))
def test_frames_are_echoed_once_they_are_whole(payloads, cut):
    last = frame(b"0123456789", masked=True)
    received = bytearray(b"".join(frame(payload, masked=True) for payload in payloads) + last[:cut])
    assert unmasked(received) == b"".join(frame(payload, masked=False) for payload in payloads)
    assert received == last[:cut]
    received += last[cut:]
    assert unmasked(received) == frame(b"0123456789", masked=False)


def test_a_ping_has_its_pong():
    ping, close = client_frame(PING, b"01234567", b"\1\2\3\4"), client_frame(CLOSE, NORMAL, b"\5\6\7\x08")
    assert unmasked(bytearray(ping + close)) == b"\x8a\x0801234567" + b"\x88\x02" + NORMAL


def test_a_browser_sends_twelve_fields():
    head = request("browser", "t" * 64)
    assert head.count(b": ") == 12
    assert 650 <= len(head) <= 750
    assert field(head, b"upgrade-insecure-requests") == b"1"
    assert field(head, b"upgrade") == b""


def test_the_process_tree_holds_children():
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        found = tree(child.pid)
        held = memory(child.pid)
        child.communicate(b"\n")
    assert found[0] == child.pid
    assert len(found) == 2
    assert 2**20 < held < 2**30
