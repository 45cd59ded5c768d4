"""Pins, states and weights through the admin API: what they do, what is refused, what a restart keeps."""

import json
import time
from pathlib import Path

import pytest
from admin_rig import NAMES, AdminDaemon, eventually


@pytest.fixture(autouse=True)
def taken_back(daemon):
    yield
    daemon.reset()


def pin(daemon, token="secret-1", backend="ide-01", **more):
    return daemon.ask("POST", "./pins", {"token": token, "backend": backend, **more}, Balancer_Author="alice")


def elsewhere(daemon, token):
    """A backend the token does not belong to."""
    return next(name for name in NAMES if name != daemon.place(token))


class TestPins:
    def test_a_pinned_user_goes_there(self, daemon):
        target = elsewhere(daemon, "secret-1")
        made = pin(daemon, backend=target, reason="their disk moves")
        assert made.status == 201
        assert daemon.place("secret-1") == target
        found = daemon.ask("POST", "./explain", {"token": "secret-1"}).json
        assert (found["rule"], found["digest"]) == ("pin", made.json["digest"])
        (listed,) = daemon.get("./pins")["pins"]
        assert (listed["digest"], listed["backend"]) == (made.json["digest"], target)
        assert (listed["reason"], listed["author"].split(" ")[0]) == ("their disk moves", "alice")
        assert listed["until"] is None
        assert listed["since"] == pytest.approx(time.time(), abs=10)
        assert daemon.ask("DELETE", f"./pins/{listed['digest']}").status == 200
        assert daemon.place("secret-1") != target

    def test_a_prefix(self, daemon):
        made = pin(daemon, "secret-x", "ide-02", prefix=True).json
        assert made["prefix"] == len("secret-x")
        assert {daemon.place(f"secret-x{n}") for n in range(20)} == {"ide-02"}
        assert {daemon.place(f"secret-y{n}") for n in range(20)} == set(NAMES)
        assert daemon.ask("DELETE", f"./pins/{made['digest']}").status == 404
        assert daemon.ask("DELETE", f"./pins/{made['digest']}?prefix={made['prefix']}").status == 200

    def test_by_digest(self, daemon):
        found = daemon.ask("POST", "./digest", {"token": "secret-1"}).json["digest"]
        target = elsewhere(daemon, "secret-1")
        assert pin(daemon, f"digest:{found}", target).json["digest"] == found
        assert daemon.place("secret-1") == target

    def test_it_ends_by_itself(self, daemon):
        made = pin(daemon, seconds=0.2).json
        assert made["until"] == pytest.approx(time.time(), abs=10)
        daemon.stderr.wait_for(lambda line: "balancer (expiry)" in line and made["digest"] in line)
        assert daemon.get("./pins")["pins"] == []

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"backend": "ide-01"}, "token: missing"),
            ({"token": "", "backend": "ide-01"}, "token: expected at least one character"),
            ({"token": "t", "backend": "-"}, "backend: expected a string that matches"),
            ({"token": "t", "backend": "ide-01", "seconds": 0}, "seconds: expected greater than 0"),
            ({"token": "t", "backend": "ide-01", "seconds": float("nan")}, "seconds: expected"),
            ({"token": "t", "backend": "ide-01", "until": 1}, "until: unknown here"),
            ({"token": "t", "backend": "ide-01", "reason": "a\nb"}, "reason: expected a string that matches"),
            ({"token": "digest:0123", "backend": "ide-01"}, "a digest is 16 hex digits"),
            ({"token": "digest:0123456789abcdef", "backend": "ide-01", "prefix": True}, "give the beginning itself"),
            ({"token": "x" * 9000, "backend": "ide-01"}, "the token is too long"),
            (b'{"token": "secret-', "this is not JSON"),
            (b"[]", "expected an object"),
            (b"", "token: missing; backend: missing"),
        ],
    )
    def test_bad_bodies(self, daemon, body, said):
        answer = daemon.ask("POST", "./pins", body)
        assert (answer.status, said in answer.error) == (400, True), answer.text
        assert "secret" not in answer.text
        assert daemon.get("./pins")["pins"] == []

    def test_refusals(self, daemon):
        assert daemon.ask("PUT", "./backends/ide-03/state", {"state": "maint"}).status == 200
        for backend, said in (("ide-04", 'no backend "ide-04"; existing backends: ide-01'), ("ide-03", "is in maint")):
            answer = pin(daemon, backend=backend)
            assert (answer.status, said in answer.error) == (409, True)
        assert daemon.get("./pins")["pins"] == []


class TestStates:
    def test_drain_and_ready(self, daemon):
        home = daemon.place("secret-1")
        answer = daemon.ask("PUT", f"./backends/{home}/state", {"state": "drain"})
        assert (answer.json["backend"]["state"], answer.json["backend"]["takes_new"]) == ("drain", False)
        found = daemon.ask("POST", "./explain", {"token": "secret-1"}).json
        assert found["candidates"][0] == {"backend": home, "skipped": "draining"}
        assert found["placed"] == found["candidates"][1]["backend"]
        daemon.ask("PUT", f"./backends/{home}/state", {"state": "ready"})
        assert daemon.place("secret-1") == home

    def test_the_last_ready_backend(self, daemon):
        for name in NAMES[:2]:
            assert daemon.ask("PUT", f"./backends/{name}/state", {"state": "drain"}).status == 200
        for method, path, body in (
            ("PUT", "./backends/ide-03/state", {"state": "maint"}),
            ("PUT", "./backends/ide-03/weight", {"weight": 0}),
            ("PUT", "./backends/ide-03/weight", {"weight": 0, "over": 60}),
        ):
            answer = daemon.ask(method, path, body)
            assert (answer.status, "no ready backend" in answer.error) == (409, True)
        assert daemon.backend("ide-03")["takes_new"]

    def test_no_such_state(self, daemon):
        answer = daemon.ask("PUT", "./backends/ide-01/state", {"state": "off"})
        assert (answer.status, answer.error) == (400, "state: expected 'ready', 'drain' or 'maint'")


class TestWeights:
    def test_at_once(self, daemon):
        before = daemon.get("/v1/pools/ide")["fingerprint"]
        answer = daemon.ask("PUT", "./backends/ide-02/weight", {"weight": 2.5}).json
        assert (answer["before"], answer["backend"]["weight"]) == (before, 2.5)
        assert answer["after"] == daemon.get("/v1/pools/ide")["fingerprint"] != before
        assert daemon.get("./ring")["weights"]["ide-02"] == 2.5

    def test_over_a_time_pause_resume_rollback(self, daemon):
        ramp = daemon.ask("PUT", "./backends/ide-01/weight", {"weight": 3, "over": 600}).json["backend"]["ramp"]
        assert (ramp["from"], ramp["to"], ramp["paused"]) == (1, 3, False)
        assert ramp["left"] == pytest.approx(600, abs=10)
        for action, paused in (("pause", True), ("resume", False)):
            answer = daemon.ask("POST", "./backends/ide-01/ramp", {"action": action})
            assert answer.json["backend"]["ramp"]["paused"] is paused
        back = daemon.ask("POST", "./backends/ide-01/ramp", {"action": "rollback"}).json["backend"]
        assert (back["weight"], back["ramp"]) == (1, None)

    def test_steps(self, daemon):
        daemon.ask("PUT", "./backends/ide-01/weight", {"weight": 2, "over": 0.5})
        seen = set()
        eventually(lambda: seen.add(daemon.get("./ring")["weights"]["ide-01"]) or 2 in seen)
        assert min(seen) >= 1
        assert daemon.backend("ide-01")["ramp"] is None

    @pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1, 1e9, "2", None, True])
    def test_no_weight(self, daemon, weight):
        answer = daemon.ask("PUT", "./backends/ide-01/weight", {"weight": weight})
        assert (answer.status, answer.error.startswith("weight: expected")) == (400, True), answer.text
        assert daemon.backend("ide-01")["weight"] == 1

    def test_nothing_to_steer(self, daemon):
        answer = daemon.ask("POST", "./backends/ide-01/ramp", {"action": "pause"})
        assert (answer.status, "is not changing" in answer.error) == (409, True)


class TestIfMatch:
    def test_only_on_the_state_that_was_seen(self, daemon):
        tag = daemon.ask("GET", "/v1/pools/ide").headers["ETag"]
        assert tag == f'"{daemon.get("/v1/pools/ide")["version"]}"'
        change = ("PUT", "./backends/ide-01/state", {"state": "drain"})
        made = daemon.ask(*change, If_Match=tag)
        assert (made.status, made.headers["ETag"] != tag) == (200, True)
        late = daemon.ask("PUT", "./backends/ide-02/state", {"state": "drain"}, If_Match=tag)
        assert (late.status, "has changed since" in late.error) == (412, True)
        assert daemon.backend("ide-02")["state"] == "ready"
        assert daemon.ask("PUT", "./backends/ide-02/state", {"state": "drain"}, If_Match="*").status == 200


def test_a_pass_to_see_decisions(daemon):
    made = daemon.ask("POST", "/v1/trace", {"seconds": 60}).json
    assert made["header"] == "X-Balancer-Trace"
    assert made["until"] == pytest.approx(time.time() + 60, abs=10)
    for seconds in (0, -1, 1e9, float("inf"), "60"):
        assert daemon.ask("POST", "/v1/trace", {"seconds": seconds}).status == 400


def test_a_restart_keeps_what_was_decided(tmp_path):
    with AdminDaemon(tmp_path) as before:
        digest = pin(before, "secret-7", "ide-02", seconds=3600).json["digest"]
        before.ask("PUT", "./backends/ide-03/state", {"state": "drain"})
        before.ask("PUT", "./backends/ide-01/weight", {"weight": 2})
        kept = {path: before.get(path) for path in ("/v1/pools/ide", "./pins", "./ring")}
        journal = before.get("./journal")["entries"]
    with AdminDaemon(tmp_path) as after:
        assert {path: after.get(path) for path in kept} == kept
        assert after.backend("ide-03")["state"] == "drain"
        assert after.place("secret-7") == "ide-02"
        assert after.ask("POST", "./digest", {"token": "secret-7"}).json["digest"] == digest
        assert after.get("./journal")["entries"] == journal
        assert after.get("/v1/status")["state_kept"]
    files = [path for path in Path(tmp_path / "state").iterdir() if path.name != "digest.key"]
    assert files
    assert all(b"secret-7" not in path.read_bytes() for path in files)


def test_the_secret_of_the_ring_is_in_no_answer(tmp_path):
    seed = "a-long-secret-of-the-ring"
    with AdminDaemon(tmp_path, pool_keys={"ring": {"hash": "blake2b", "seed": seed}}) as daemon:
        for path in ("/v1/status", "/v1/pools", "./ring", "./journal", "/metrics"):
            answer = daemon.ask("GET", path)
            assert (answer.status, seed in answer.text) == (200, False)
        assert json.loads(daemon.ask("GET", "./journal").text)["entries"][0]["config"]["ring"]["hash"] == "blake2b"


def test_without_a_state_directory_nothing_is_kept(tmp_path):
    with AdminDaemon(tmp_path, keep=False) as daemon:
        assert pin(daemon).status == 201
        assert daemon.get("./journal")["kept"] is False
        assert not daemon.get("/v1/status")["state_kept"]


def test_the_level_of_messages(daemon):
    assert daemon.get("/v1/log-level") == {"level": "info"}
    assert daemon.ask("PUT", "/v1/log-level", {"level": "debug"}).json == {"level": "debug"}
    assert daemon.get("/v1/log-level") == {"level": "debug"}
    assert daemon.ask("PUT", "/v1/log-level", {"level": "info"}).status == 200
    assert "level: expected 'debug', 'info'" in daemon.ask("PUT", "/v1/log-level", {"level": "loud"}).error
