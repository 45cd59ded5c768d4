"""Plans and explanations on the running daemon, with users who are connected while they are made."""

import time
from xml.etree import ElementTree

import pytest
from admin_rig import NAMES, AdminDaemon, eventually

DRAIN = {"op": "state", "backend": "ide-02", "state": "drain"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    with AdminDaemon(tmp_path_factory.mktemp("plans"), hosts, pool_keys={"linger": "100ms"}) as running:
        yield running


@pytest.fixture(autouse=True)
def taken_back(daemon, hosts):
    yield
    daemon.reset()
    for host in hosts:
        host.forget()


def plan(daemon, *changes, **fields):
    return daemon.ask("POST", "./plan", {"changes": changes}, **fields)


class TestPlan:
    def test_what_a_drain_moves(self, daemon, tunnels):
        tokens = [f"secret-{n}" for n in range(12)]
        there = [token for token in tokens if daemon.place(token) == "ide-02"]
        assert 0 < len(there) < len(tokens)
        tunnels(*tokens)
        found = plan(daemon, DRAIN).json
        assert found["users"]["connected"] == len(tokens)
        assert (found["users"]["moving"], found["users"]["tunnels"]) == (len(there), len(there))
        assert {move["from"] for move in found["users"]["moves"]} == {"ide-02"}
        assert found["moved"] == pytest.approx(found["before"]["shares"]["ide-02"])
        assert (found["needless"], found["exact"]) == (0, True)
        assert all(each["state"] == "ready" for each in daemon.get("./backends")["backends"])

    def test_apply(self, daemon):
        made = plan(daemon, DRAIN, {"op": "weight", "backend": "ide-01", "weight": 2}).json
        done = daemon.ask("POST", f"/v1/plans/{made['id']}/apply", Balancer_Author="alice")
        assert (done.status, done.json["who"].split(" ")[0]) == (200, "alice")
        assert (daemon.backend("ide-02")["state"], daemon.backend("ide-01")["weight"]) == ("drain", 2)
        assert daemon.backend("ide-02")["state_since"] == pytest.approx(time.time(), abs=10)
        assert daemon.ask("POST", f"/v1/plans/{made['id']}/apply").status == 404

    def test_a_stale_plan(self, daemon):
        made = plan(daemon, DRAIN).json
        assert daemon.ask("PUT", "./backends/ide-01/weight", {"weight": 2}).status == 200
        late = daemon.ask("POST", f"/v1/plans/{made['id']}/apply")
        assert (late.status, "make a new plan" in late.error) == (409, True)
        assert daemon.ask("GET", f"/v1/plans/{made['id']}", Accept="image/svg+xml").status == 200
        assert daemon.backend("ide-02")["state"] == "ready"

    def test_plans_that_make_the_same_ring_are_not_the_same(self, daemon):
        removed = plan(daemon, {"op": "remove", "name": "ide-02"}).json
        drained, maint = plan(daemon, DRAIN).json, plan(daemon, {**DRAIN, "state": "maint"}).json
        assert drained["after"]["fingerprint"] == maint["after"]["fingerprint"] == removed["after"]["fingerprint"]
        assert len({drained["id"], maint["id"], removed["id"]}) == 3

    def test_add_and_remove(self, daemon):
        added = plan(daemon, {"op": "add", "name": "ide-09", "address": "127.0.0.1:9"}).json
        assert {move["to"] for move in added["moves"]} == {"ide-09"}
        daemon.ask("POST", f"/v1/plans/{added['id']}/apply")
        assert daemon.backend("ide-09")["address"] == "127.0.0.1:9"
        removed = plan(daemon, {"op": "remove", "name": "ide-09"}).json
        assert removed["moved"] == pytest.approx(added["moved"])
        assert daemon.ask("POST", f"/v1/plans/{removed['id']}/apply").json["after"] == added["before"]["fingerprint"]
        assert len(daemon.get("./backends")["backends"]) == 3

    def test_as_text_and_as_a_picture(self, daemon):
        made = plan(daemon, DRAIN).json
        text = daemon.ask("GET", f"/v1/plans/{made['id']}", Accept="text/plain")
        assert text.headers["Content-Type"].startswith("text/plain")
        assert f"balancer ring apply {made['id']}" in text.text
        picture = daemon.ask("GET", f"/v1/plans/{made['id']}", Accept="image/svg+xml")
        assert ElementTree.fromstring(picture.text).tag.endswith("svg")

    @pytest.mark.parametrize(
        ("changes", "status", "said"),
        [
            ([], 400, '"changes", at least one'),
            ([{"op": "explode"}], 400, "does not match any of the expected tags"),
            ([{**DRAIN, "more": 1}], 400, "more: unknown here"),
            ([{"op": "add", "name": "x", "address": "host:1"}], 400, "names are not resolved"),
            ([{"op": "weight", "backend": "ide-01", "weight": -1}], 400, "weight: expected at least 0"),
            ([{"op": "remove", "name": "ide-04"}], 409, 'no backend "ide-04"'),
            ([{"op": "add", "name": "ide-01", "address": "127.0.0.1:1"}], 409, 'a backend "ide-01" already'),
            ([{"op": "remove", "name": name} for name in NAMES], 409, "no ready backend"),
        ],
    )
    def test_refusals(self, daemon, changes, status, said):
        answer = plan(daemon, *changes)
        assert (answer.status, said in answer.error) == (status, True), answer.text

    def test_the_author_of_a_pin_is_not_the_author_s_to_choose(self, daemon):
        pin = {"op": "pin", "digest": "0" * 16, "backend": "ide-01", "author": "somebody else"}
        made = plan(daemon, pin, Balancer_Author="alice").json
        daemon.ask("POST", f"/v1/plans/{made['id']}/apply")
        assert daemon.get("./pins")["pins"][0]["author"].startswith("alice (uid ")


class TestExplain:
    def test_a_user_who_is_not_connected(self, daemon):
        found = daemon.ask("POST", "./explain", {"token": "secret-of-nobody"})
        assert "secret" not in found.text
        assert found.json["live"] is None
        assert found.json["placed"] == found.json["owner"] == found.json["candidates"][0]["backend"]
        assert found.json["if_lost"] == found.json["candidates"][1]["backend"]
        assert found.json["fingerprint"] == daemon.get("/v1/pools/ide")["fingerprint"]

    def test_a_connected_user_stays_where_they_are(self, daemon, tunnels):
        home = daemon.place("secret-2")
        tunnels("secret-2")
        daemon.ask("PUT", f"./backends/{home}/state", {"state": "drain"})
        found = daemon.ask("POST", "./explain", {"token": "secret-2"}).json
        assert (found["rule"], found["placed"]) == ("lease", home)
        assert found["live"] == {"place": home, "tunnels": 1}
        text = daemon.ask("POST", "./explain", {"token": "secret-2"}, Accept="text/plain").text
        assert f": 1 open tunnel, on {home}\ntoken found in: query\n" in text
        assert found["token_from"] == ["query"]
        by_digest = daemon.ask("POST", "./explain", {"token": f"digest:{found['digest']}"})
        assert by_digest.json == found

    def test_a_digest_nobody_has(self, daemon):
        answer = daemon.ask("POST", "./explain", {"token": "digest:" + "0" * 16})
        assert (answer.status, "no connected user" in answer.error) == (404, True)

    def test_the_past(self, daemon):
        home = daemon.place("secret-3")
        before = time.time()
        daemon.ask("PUT", f"./backends/{home}/state", {"state": "drain"})
        for at, placed in ((before, home), (time.time(), daemon.place("secret-3"))):
            found = daemon.ask("POST", "./explain", {"token": "secret-3", "at": at}).json
            assert (found["placed"], found["at"]) == (placed, at)
        early = daemon.ask("POST", "./explain", {"token": "secret-3", "at": 1.0})
        assert (early.status, "does not reach back" in early.error) == (409, True)
        assert "UTC" in daemon.ask("POST", "./explain", {"token": "secret-3", "at": before}, Accept="text/plain").text


class TestStrays:
    def test_found_counted_and_sent_home(self, daemon, tunnels):
        tokens = [f"secret-{n}" for n in range(6)]
        ends = tunnels(*tokens)
        assert daemon.get("./strays")["count"] == 0
        # Pinned elsewhere, each of them is where they do not belong any more.
        for token in tokens:
            other = next(name for name in NAMES if name != daemon.place(token))
            daemon.ask("POST", "./pins", {"token": token, "backend": other})
        found = daemon.get("./strays?limit=4")
        assert (found["count"], len(found["strays"]), found["settling"]) == (6, 4, None)
        assert all(each["place"] != each["home"] and each["tunnels"] == 1 for each in found["strays"])
        begun = daemon.ask("POST", "./settle", {"rate": 1000})
        assert (begun.status, begun.json["settling"]["strays"]) == (202, 6)
        for client in ends[::2]:
            assert client.rest()[:1] in (b"", b"\x88")
        work = eventually(lambda: (work := daemon.get("./strays")["settling"])["done"] and work)
        assert (work["moved"], work["skipped"]) == (6, 0)

    def test_stopped(self, daemon, tunnels):
        tunnels("secret-1", "secret-2")
        for token in ("secret-1", "secret-2"):
            other = next(name for name in NAMES if name != daemon.place(token))
            daemon.ask("POST", "./pins", {"token": token, "backend": other})
        daemon.ask("POST", "./settle", {"rate": 0.001})
        eventually(lambda: daemon.get("./strays")["settling"]["moved"])
        assert daemon.ask("DELETE", "./settle").json["settling"]["moved"] == 1
        assert daemon.get("./strays")["count"] == 1
        assert daemon.get("./strays")["settling"]["done"]

    @pytest.mark.parametrize("rate", [0, -1, 1001, float("nan"), "5", None])
    def test_no_rate(self, daemon, rate):
        answer = daemon.ask("POST", "./settle", {"rate": rate})
        assert (answer.status, answer.error.startswith("rate: expected")) == (400, True)
