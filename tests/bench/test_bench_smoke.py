"""The benchmark itself: it runs, measures every proxy there is, and says no when there is nothing to compare."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from balancer.demo.certificate import make_certificate
from bench.peers.envoy import ENVOY
from bench.peers.table import PEERS, SUBJECT
from bench.report import noisy, record, text
from bench.runner import run
from bench.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent.parent
INSTALLED = {peer.name for peer in PEERS if peer.version()}


def bench(*arguments):
    return subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_scenario_gives_numbers_for_every_proxy(tmp_path):
    file = tmp_path / "result.json"
    done = bench("tls-resumed", "--seconds", "0.1", "--rounds", "1", "--json", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    (scenario,) = json.loads(file.read_text())["scenarios"]
    (turn,) = scenario["rounds"]
    assert turn.keys() == INSTALLED
    for sample in turn.values():
        assert 1 < sample["cpu_microseconds"] < 50_000
        assert 0 < sample["p50_milliseconds"] <= sample["p99_milliseconds"]
        assert 1 < sample["rss_mebibytes"] < 1000
    assert scenario["ratios"].keys() == INSTALLED - {SUBJECT}
    assert "tls-resumed: " in done.stdout


def test_an_unknown_scenario_is_named_beside_the_known():
    done = bench("get-fast")
    assert done.returncode == 2
    assert "there is no get-fast; there are get-plain, " in done.stderr


@pytest.mark.parametrize(
    ("given", "complaint"),
    [("apache=/bin/sh", "there is no apache; there are balancer, haproxy, "), ("envoy=/no/envoy", "is not a program")],
)
def test_a_peer_that_cannot_be_run_is_refused(given, complaint):
    done = bench("--peer", given)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_the_program_of_a_peer_can_be_chosen(tmp_path):
    program = tmp_path / "envoy-next"
    program.write_text("#!/bin/sh\necho envoy version: 0123/9.1.2/Clean\n")
    program.chmod(0o700)
    assert replace(ENVOY, program=str(program)).version() == "9.1.2"
    assert replace(ENVOY, program=str(tmp_path / "gone")).version() is None


def measured(name, connections, folder):
    """A sample of this balancer alone."""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    small = replace(scenario, connections=connections)
    ((sample,),) = [turn.values() for turn in run(small, PEERS[:1], make_certificate(folder), folder, 1, 0.1)]
    assert text(small, [{SUBJECT: sample}])
    return sample


def test_idle_connections_have_a_price(tmp_path):
    sample = measured("idle", 40, tmp_path)
    assert sample["connections"] == 40
    assert 5 < sample["kibibytes_per_connection"] < 1000
    assert 0 <= sample["idle_cpu_percent"] < 100


def test_quiet_users_are_measured_beside_a_copy(tmp_path):
    sample = measured("fairness", 2, tmp_path)
    assert 0 < sample["p50_milliseconds"] <= sample["p99_milliseconds"]
    assert sample["bulk_mebibytes_per_second"] > 1


def rounds(ours, theirs):
    """Rounds with these CPU times per operation, the rest all alike."""
    return [
        {
            SUBJECT: {"operations_per_second": 1000.0, "cpu_microseconds": own},
            "haproxy": {"operations_per_second": 2000.0, "cpu_microseconds": other},
        }
        for own, other in zip(ours, theirs, strict=True)
    ]


def test_ratios_are_taken_within_a_round():
    done = rounds([20.0, 30.0, 80.0], [10.0, 10.0, 40.0])  # the ratio of the medians would be 3
    assert record(SCENARIOS[0], done)["ratios"]["haproxy"]["cpu_microseconds"] == 2.0
    assert "2.00 (2.00-3.00)" in text(SCENARIOS[0], done)
    assert "0.50 (0.50-0.50)" in text(SCENARIOS[0], done)


def test_numbers_are_shown_with_three_digits():
    done = text(SCENARIOS[0], rounds([0.01234], [123456.0]))
    assert "0.0123 ±0%" in done
    assert "123,456 ±0%" in done


def test_nothing_is_no_divisor():
    done = [{SUBJECT: {"idle_cpu_percent": 1.5}, "nginx": {"idle_cpu_percent": 0.0}}]
    assert record(SCENARIOS[0], done)["ratios"] == {"nginx": {}}
    assert text(SCENARIOS[0], done).splitlines()[-1].split() == ["/", "nginx", "-"]


def test_a_noisy_machine_is_told():
    assert noisy(rounds([20.0, 21.0, 24.0], [10.0, 10.0, 11.0])) == []
    assert noisy(rounds([20.0, 21.0, 22.0], [10.0, 10.0, 13.0])) == [
        "the machine was too noisy: haproxy's CPU us/op spread 30% between rounds"
    ]
