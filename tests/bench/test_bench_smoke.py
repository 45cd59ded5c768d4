"""The benchmark itself: it runs, measures every proxy there is, and says no when there is nothing to compare."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from balancer.demo.certificate import make_certificate
from bench.peers.envoy import ENVOY
from bench.peers.peer import Setup
from bench.peers.table import PEERS, SUBJECT
from bench.report import noisy, record, text
from bench.runner import run
from bench.scenarios import SCENARIOS, State

pytestmark = pytest.mark.site

ROOT = Path(__file__).parent.parent.parent
INSTALLED = {peer.name for peer in PEERS if peer.version()}


def bench(*arguments, path=os.environ["PATH"]):
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_instructions_are_counted(tmp_path):
    file = tmp_path / "result.json"
    only = ("--only", SUBJECT, "--rounds", "1", "--seconds", "1", "--json", str(file))
    done = bench("get-plain", "--instructions", *only)
    assert (done.returncode, done.stderr) == (0, "")
    (turn,) = json.loads(file.read_text())["scenarios"][0]["states"][0]["rounds"]
    assert turn.keys() == {SUBJECT}
    assert 10_000 < turn[SUBJECT]["instructions"] < 1_000_000


def test_a_scenario_gives_numbers_for_every_proxy(tmp_path):
    file = tmp_path / "result.json"
    done = bench("tls-resumed", "--seconds", "0.1", "--rounds", "1", "--json", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    (scenario,) = json.loads(file.read_text())["scenarios"]
    (state,) = scenario["states"]
    (turn,) = state["rounds"]
    assert turn.keys() == INSTALLED
    for sample in turn.values():
        assert 1 < sample["cpu_microseconds"] < 50_000
        assert 0 < sample["p50_milliseconds"] <= sample["p99_milliseconds"]
        assert 1 < sample["memory_mebibytes"] < 1000
    assert state["ratios"].keys() == INSTALLED - {SUBJECT}
    assert "tls-resumed: " in done.stdout


def test_an_unknown_scenario_is_named_beside_the_known():
    done = bench("get-fast")
    assert done.returncode == 2
    assert "unknown scenario get-fast; see --list" in done.stderr


@pytest.mark.parametrize(
    ("given", "complaint"),
    [("apache=/bin/sh", "unknown proxy apache: use balancer, haproxy, "), ("envoy=/no/envoy", "not a program")],
)
def test_a_peer_that_cannot_be_run_is_refused(given, complaint):
    done = bench("--peer", given)
    assert done.returncode == 2
    assert complaint in done.stderr


def with_haproxy(answering, folder):
    """A path on which haproxy is a program that answers every request with what ``answering`` makes of its number.

    There is no wrk on it: our own clients wait for an answer however short the run.
    """
    program = folder / "haproxy"
    program.write_text(f"""#!{sys.executable}
import re, selectors, socket, sys, time
if sys.argv[1] == "-v":
    print("HAProxy version 9.9 of this test")
    sys.exit()
{answering}
served, waiting = 0, selectors.DefaultSelector()
for port in re.findall(r"bind 127.0.0.1:(\\d+)", open(sys.argv[-1]).read()):
    waiting.register(socket.create_server(("127.0.0.1", int(port))), selectors.EVENT_READ, "new")
while True:
    for key, _ in waiting.select():
        if key.data:
            waiting.register(key.fileobj.accept()[0], selectors.EVENT_READ)
            continue
        try:
            served += 1
            if key.fileobj.recv(65536):
                key.fileobj.sendall(b"HTTP/1.1 " + answer(served) + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")
                continue
        except ConnectionError:
            pass
        waiting.unregister(key.fileobj)
        key.fileobj.close()
""")
    program.chmod(0o700)
    (folder / "env").symlink_to(shutil.which("env"))
    return str(folder)


def test_numbers_with_a_wrong_answer_among_them_are_refused(tmp_path):
    path = with_haproxy("def answer(count): return b'503 No' if count > 100 else b'200 OK'", tmp_path)
    done = bench("get-plain", "--seconds", "0.1", "--rounds", "1", path=path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: get-plain, haproxy, round 1: ")
    assert "get-plain" not in done.stdout  # no table of the others either


def test_a_proxy_whose_cost_changes_is_called_noisy(tmp_path):
    slower_and_slower = """
def answer(count):
    done = time.thread_time() + count * 1e-6
    while time.thread_time() < done:
        pass
    return b"200 OK"
"""
    path = with_haproxy(slower_and_slower, tmp_path)
    done = bench("get-plain", "--seconds", "0.1", "--rounds", "2", path=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the machine was too noisy: haproxy's CPU us/op spread " in done.stdout
    assert done.stdout.splitlines()[-1].endswith("measure again when it is quiet: get-plain")


def test_there_is_a_list_of_what_can_be_measured():
    done = bench("--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [scenario.name for scenario in SCENARIOS]


def test_a_program_that_does_not_tell_its_version_is_no_peer(tmp_path):
    (tmp_path / "no").write_text("#!/bin/sh\necho such file >&2\nexit 3\n")
    (tmp_path / "no").chmod(0o700)
    done = bench("get-plain", "--peer", f"haproxy={tmp_path}/no")
    assert (done.returncode, done.stderr) == (1, f"error: haproxy: {tmp_path}/no -v failed: such file\n")


def test_the_program_of_a_peer_can_be_chosen(tmp_path):
    program = tmp_path / "envoy-next"
    program.write_text("#!/bin/sh\necho envoy version: 0123/9.1.2/Clean\n")
    program.chmod(0o700)
    assert replace(ENVOY, program=str(program)).version() == "9.1.2"
    assert replace(ENVOY, program=str(tmp_path / "gone")).version() is None


def measured(name, folder, seconds=0.1, **smaller):
    """Samples of this balancer alone, by state, of a scenario that was made smaller.

    Not with wrk, which on a busy machine has not begun by the time it is to end.
    """
    scenario = replace(next(scenario for scenario in SCENARIOS if scenario.name == name), **smaller)
    results = run(scenario, PEERS[:1], make_certificate(folder), folder, 1, seconds)
    assert text(scenario, results)
    assert json.dumps(record(scenario, results))
    return {state: turn[SUBJECT] for state, (turn,) in results.items()}


def test_idle_connections_have_a_price(tmp_path):
    sample = measured("idle", tmp_path, connections=40)[""]
    assert sample["connections"] == 40
    assert 5 < sample["kibibytes_per_connection"] < 1000
    assert 0 <= sample["idle_cpu_percent"] < 100


def test_quiet_users_are_measured_beside_a_copy(tmp_path):
    sample = measured("fairness", tmp_path, connections=2)[""]
    assert 0 < sample["p50_milliseconds"] <= sample["p99_milliseconds"]
    assert sample["bulk_mebibytes_per_second"] > 1


def test_open_tunnels_are_measured_beside_clients_that_come_back(tmp_path):
    sample = measured("storm", tmp_path, connections=2)[""]
    assert 0 < sample["p50_milliseconds"] <= sample["p99_milliseconds"] <= sample["longest_milliseconds"]


def test_a_proxy_adds_to_what_a_message_takes_without_it(tmp_path):
    sample = measured("latency-tls", tmp_path)[""]
    assert 0 < sample["added_milliseconds"] < sample["p50_milliseconds"]
    assert sample["added_milliseconds"] + sample["direct_p50_milliseconds"] == pytest.approx(
        sample["p50_milliseconds"], rel=0.5
    )


def test_two_workers_share_the_work(tmp_path):
    def busy(sample):
        """How many threads it would take that all do as much as the busiest."""
        return sample["capacity_per_second"] * sample["cpu_microseconds"] / 1e6

    one, two = measured("two-workers", tmp_path, seconds=0.3, kind="open-close", connections=16).values()
    assert busy(one) < 1.2 < busy(two)


def test_a_crowd_is_there_while_others_are_served(tmp_path):
    states = [State("alone"), State("crowded", crowd=1000)]
    alone, crowded = measured("crowd", tmp_path, kind="open-close", states=states).values()
    assert (alone.get("connections"), crowded["connections"]) == (None, 1000)


def test_operators_do_things_while_requests_are_steady(tmp_path):
    few = Setup(backends=5)
    events = ("reload", "swap", "scrape")
    states = [State("calm", few), *(State(event, few, event=event) for event in events)]
    calm, *disturbed = measured("reload", tmp_path, states=states).values()
    assert 0 < calm["p50_milliseconds"] <= calm["p99_milliseconds"] <= calm["longest_milliseconds"]
    for each in disturbed:
        assert each["events"] >= 1
        assert each["reconnects"] == 0


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
    done = {"": rounds([20.0, 30.0, 80.0], [10.0, 10.0, 40.0])}  # the ratio of the medians would be 3
    assert record(SCENARIOS[0], done)["states"][0]["ratios"]["haproxy"]["cpu_microseconds"] == 2.0
    assert "2.00 (2.00-3.00)" in text(SCENARIOS[0], done)
    assert "0.50 (0.50-0.50)" in text(SCENARIOS[0], done)


def test_states_are_compared_within_a_round():
    done = {"few": rounds([20.0, 30.0, 80.0], [1.0] * 3), "many": rounds([40.0, 30.0, 120.0], [1.0] * 3)}
    assert record(SCENARIOS[0], done)["changes"][SUBJECT]["cpu_microseconds"] == 0.5
    shown = text(SCENARIOS[0], done)
    assert "many, against few:" in shown
    assert "+50% (+0 to +100)" in shown


def test_numbers_are_shown_with_three_digits():
    done = text(SCENARIOS[0], {"": rounds([0.01234], [123456.0])})
    assert "0.0123 ±0%" in done
    assert "123,456 ±0%" in done
    assert "-0.0123 ±0%" in text(SCENARIOS[0], {"": rounds([-0.01234], [1.0])})  # less than at rest: noise


def test_nothing_is_no_divisor():
    done = {"": [{SUBJECT: {"idle_cpu_percent": 1.5}, "nginx": {"idle_cpu_percent": 0.0}}]}
    assert record(SCENARIOS[0], done)["states"][0]["ratios"] == {"nginx": {}}
    assert text(SCENARIOS[0], done).splitlines()[-1].split() == ["/", "nginx", "-"]


def test_a_noisy_machine_is_told():
    assert noisy(rounds([20.0, 21.0, 24.0], [10.0, 10.0, 11.0])) == []
    assert noisy(rounds([20.0, 21.0, 22.0], [10.0, 10.0, 13.0])) == [
        "the machine was too noisy: haproxy's CPU us/op spread 30% between rounds"
    ]
