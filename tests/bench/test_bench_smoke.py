"""The benchmark itself: it runs, measures every proxy there is, and says no when there is nothing to compare."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.backends import answer_echo, answer_get, backends
from bench.load import Aim, PingPong, load
from bench.measure import Sample, tree
from bench.peers import PEERS, SUBJECT
from bench.process import BenchError, server
from bench.report import noisy, record, text
from bench.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent.parent
INSTALLED = {peer.name for peer in PEERS if peer.version()}


def bench(*arguments):
    return subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_scenario_gives_numbers_for_every_proxy(tmp_path):
    file = tmp_path / "result.json"
    done = bench("get-plain", "--seconds", "0.3", "--rounds", "1", "--json", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    (scenario,) = json.loads(file.read_text())["scenarios"]
    (turn,) = scenario["rounds"]
    assert turn.keys() == INSTALLED
    for sample in turn.values():
        assert 1 < sample["cpu_microseconds"] < 10_000
        assert 0 < sample["p50_milliseconds"] <= sample["p99_milliseconds"]
        assert 1 < sample["rss_mebibytes"] < 1000
    assert scenario["ratios"].keys() == INSTALLED - {SUBJECT}
    assert "get-plain: " in done.stdout


def test_an_unknown_scenario_is_named_beside_the_known():
    done = bench("get-fast")
    assert done.returncode == 2
    assert "there is no get-fast; there are get-plain, " in done.stderr


@pytest.mark.parametrize("kind", ["get", "echo"])
def test_our_generator_and_backends_understand_each_other(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)  # as on a machine without nginx and wrk
    with backends(kind, tmp_path) as ports, load(Aim(kind, ports[0], None, 8), tmp_path) as generator:
        assert isinstance(generator, PingPong)
        first, second = generator.run(0.05), generator.run(0.05)
    assert first.operations > 8
    assert second.operations > 8
    assert 0.05 <= first.seconds < 5


def test_wrong_answers_are_no_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    # A GET backend refuses nothing, but its 200 is no WebSocket.
    with (
        backends("get", tmp_path) as ports,
        pytest.raises(BenchError, match="the handshake was refused"),
        load(Aim("echo", ports[0], None, 1), tmp_path),
    ):
        pass


def test_a_server_that_ends_is_named_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    with (
        pytest.raises(BenchError, match=r"proxy does not listen on port 1:\n  no such option"),
        server("proxy", command, tmp_path, [1]),
    ):
        pass


def test_answers_come_once_they_are_whole():
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    received = bytearray(request * 2 + request[:-1])
    assert answer_get(received).count(b"200 OK") == 2
    assert received == request[:-1]

    handshake = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    frame = b"\x82\x83\0\0\0\0abc"
    received = bytearray(handshake[:-1])
    assert answer_echo(received) == b""
    received += b"\n"
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer_echo(received)  # the example of RFC 6455, 1.3
    received += frame * 2 + frame[:-1]
    assert answer_echo(received) == b"\x82\x03abc" * 2
    assert received == frame[:-1]


def test_the_process_tree_holds_children(tmp_path):
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        found = tree(child.pid)
        child.communicate(b"\n")
    assert found[0] == child.pid
    assert len(found) == 2


def rounds(ours, theirs):
    """Rounds with these CPU times per operation, the rest all alike."""
    return [
        {SUBJECT: Sample(1000.0, own, 1.0, 2.0, 30.0), "haproxy": Sample(2000.0, other, 1.0, 2.0, 20.0)}
        for own, other in zip(ours, theirs, strict=True)
    ]


def test_ratios_are_taken_within_a_round():
    done = rounds([20.0, 30.0, 80.0], [10.0, 10.0, 40.0])  # the ratio of the medians would be 3
    assert record(SCENARIOS[0], done)["ratios"]["haproxy"]["cpu_microseconds"] == 2.0
    assert "2.00 (2.00-3.00)" in text(SCENARIOS[0], done)
    assert "0.50 (0.50-0.50)" in text(SCENARIOS[0], done)


def test_a_noisy_machine_is_told():
    assert noisy(rounds([20.0, 21.0, 24.0], [10.0, 10.0, 11.0])) == []
    assert noisy(rounds([20.0, 21.0, 22.0], [10.0, 10.0, 13.0])) == [
        "the machine was too noisy: haproxy's CPU per operation spread 30% between rounds"
    ]
