"""The description of the admin API agrees with the code, and the running daemon with both.

Answers are held to the description wherever a test asks the daemon (see ``described``); here each operation is asked.
"""

import ast
import inspect
import json
import textwrap

import pytest
from admin_rig import AdminDaemon, eventually
from described import DESCRIPTION, EXERCISED, check
from releases import make_release

from balancer.admin import requests
from balancer.admin.openapi import OPERATIONS
from balancer.admin.routing import ROUTES

HANDLERS = {(method, path): handler for path, methods in ROUTES.items() for method, handler in methods.items()}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, hosts):
    health = {"type": "tcp", "interval": "1h"}
    with AdminDaemon(tmp_path_factory.mktemp("openapi"), hosts, pool_keys={"health": health}) as running:
        yield running


def test_every_route_is_described():
    assert set(OPERATIONS) == set(HANDLERS)


def test_it_is_what_the_standard_wants():
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(DESCRIPTION)
    names = [operation["operationId"] for path in DESCRIPTION["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for path in DESCRIPTION["paths"].values() for operation in path.values())


@pytest.mark.parametrize("key", OPERATIONS, ids=" ".join)
def test_bodies_queries_and_statuses_are_those_of_the_code(key):
    tree = ast.parse(textwrap.dedent(inspect.getsource(HANDLERS[key])))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    taken = [getattr(requests, call.args[0].attr) for call in calls if call.func.attr == "body"]
    assert taken == ([OPERATIONS[key].body] if OPERATIONS[key].body is not None else [])
    numbers = [call.args[0].value for call in calls if call.func.attr == "number"]
    assert numbers == list(OPERATIONS[key].query or {})
    given = [word.value.value for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords
             if word.arg == "status" and isinstance(word.value, ast.Constant)]  # fmt: skip
    assert given == ([OPERATIONS[key].status] if OPERATIONS[key].status != 200 else [])


def test_it_is_served(daemon):
    assert daemon.get("/v1/openapi.json") == json.loads(json.dumps(DESCRIPTION))


def test_every_operation_answers_as_described(daemon, hosts, tunnels, tmp_path):
    """Granted, one after another; the refusals are everywhere else in these tests."""
    for host in hosts:  # what has probed it
        host.accept().close()
    tunnels("secret-1")
    home = daemon.place("secret-1")
    eventually(lambda: daemon.backend("ide-01")["share"])
    for path in ("/healthz", "/readyz", "/metrics", "/v1/status", "/v1/pools", "/v1/pools/ide", "/v1/log-level"):
        assert daemon.ask("GET", path).status == 200
    assert daemon.ask("GET", "./ring", Accept="text/plain").status == daemon.ask("GET", "./ring").status == 200
    assert daemon.ask("HEAD", "/v1/events").status == 200
    daemon.ask("PUT", "/v1/log-level", {"level": "info"})
    assert daemon.ask("PUT", "/v1/drain", {"drain": False}).status == 200
    assert daemon.ask("PUT", "./backends/ide-01/state", {"state": "drain", "dry_run": True}).json["dry_run"]
    daemon.ask("PUT", "./backends/ide-01/weight", {"weight": 2, "over": 60})
    assert daemon.backend("ide-01")["ramp"]["to"] == 2
    daemon.ask("POST", "./backends/ide-01/ramp", {"action": "pause"})
    daemon.ask("POST", "./digest", {"token": "secret-1"})
    daemon.ask("POST", "./explain", {"token": "secret-1"}, Accept="text/plain")
    daemon.ask("POST", "./explain", {"token": "secret-1", "at": daemon.get("./journal")["entries"][-1]["time"]})
    made = daemon.ask("POST", "./plan", {"changes": [{"op": "state", "backend": home, "state": "drain"}]}).json
    assert made["users"]["moving"] == 1
    add = {"op": "add", "name": "x", "address": "127.0.0.1:1"}
    daemon.ask("POST", "./plan", {"changes": [add]}, Accept="text/plain")
    for kind in ("application/json", "text/plain", "image/svg+xml"):
        assert daemon.ask("GET", f"/v1/plans/{made['id']}", Accept=kind).status == 200
    assert daemon.ask("POST", f"/v1/plans/{made['id']}/apply").status == 200
    pinned = daemon.ask("POST", "./pins", {"token": "secret-2", "backend": "ide-02", "seconds": 60}).json
    assert daemon.get("./pins")["pins"]
    daemon.ask("DELETE", f"./pins/{pinned['digest']}")
    assert daemon.get("./strays?limit=5")["strays"]
    assert daemon.ask("POST", "./settle", {"rate": 1000}).status == 202
    daemon.ask("DELETE", "./settle")
    daemon.ask("POST", "/v1/trace", {"seconds": 60})
    tunnels("secret-3")
    (session,) = daemon.get(
        "/v1/sessions?user=" + daemon.ask("POST", "./digest", {"token": "secret-3"}).json["digest"]
    )["sessions"]
    assert daemon.ask("DELETE", f"/v1/sessions/{session['session']}").json["ended"]
    for path in ("/v1/config", "/v1/config/diff"):
        assert daemon.ask("GET", path, Accept="text/plain").status == 200
    for path in ("/v1/config", "/v1/config/diff", "/v1/certificates", "/v1/reload"):
        assert daemon.ask("GET", path).status == 200
    assert daemon.ask("POST", "/v1/reload", {"dry_run": True}, Accept="text/plain").status == 200
    assert daemon.ask("POST", "/v1/reload", {}).json["last_reload"]["ok"]
    assert daemon.get("/v1/upgrade")["state"] == "none"
    release = str(make_release(tmp_path / "1.1", "1.1"))
    assert daemon.ask("POST", "/v1/upgrade", {"to": release, "dry_run": True}).json["state"] == "rehearsed"
    assert daemon.ask("POST", "/v1/upgrade/finish", {}).json["workers"] == 0
    daemon.reset()
    assert set(OPERATIONS) - EXERCISED == set()


def test_an_answer_that_is_not_described_is_noticed(daemon):
    """The check can fail: for a key too many, one too few, another status."""
    answer = daemon.ask("GET", "/healthz")
    for text in ('{"ok": true, "more": 1}', "{}", '{"ok": "yes"}'):
        answer.text = text
        with pytest.raises(Exception, match=r"'ok'|more|yes"):
            check("GET", "/healthz", answer)
    answer.status = 418
    with pytest.raises(AssertionError, match="418"):
        check("GET", "/healthz", answer)
