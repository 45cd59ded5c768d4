"""Applications without tokens: turns by weight, and users who are assigned a token in a cookie."""

from collections import Counter

import pytest
from harness import listener, pool
from wire import answer, get, reached

NAMES = ["a", "b", "c"]
ASSIGN = {"source": "none", "missing": "assign", "remember": "SRV"}


@pytest.fixture(scope="module")
def daemon(start, homes, tmp_path_factory):
    pools = [pool(*homes, token=ASSIGN), pool(*homes, name="turns", balance="turns")]
    pools[1]["backend"][0]["weight"] = 2.0
    pools.append(pool(*homes, name="some", token={"missing": "assign", "remember": "some"}))
    listeners = [
        listener("web", route=[{"path_prefix": ["/turns"], "pool": "turns"}, {"path": ["/some"], "pool": "some"}]),
        {**listener("raw", mode="tcp"), "pool": "turns"},
    ]
    folder = tmp_path_factory.mktemp("state")
    return start(listeners=listeners, pool=pools, state_dir=str(folder))


def served(backends, client, target, *fields, status=b"200 OK"):
    """The host that a request reaches, and the cookie that comes with the answer."""
    client.send(get(target, *fields))
    number, peer = reached(backends)
    assert "srv=" not in str(peer.request().fields).lower()
    peer.send(answer(b"", "Connection: close").replace(b"200 OK", status))
    response = client.response()
    peer.close()
    return number, response["set-cookie"]


def test_a_new_user_gets_a_token_and_keeps_the_host(daemon, backends):
    homes = set()
    with daemon.connect() as client:
        for _ in range(12):
            number, cookie = served(backends, client, "/")
            assert cookie.startswith("SRV=")
            assert "; HttpOnly" in cookie
            for _ in range(3):
                assert served(backends, client, "/x", f"Cookie: {cookie.partition(';')[0]}") == (number, None)
            homes.add(number)
    assert len(homes) > 1
    first = daemon.logged(path="/", token_from="assigned")
    assert daemon.logged(path="/x", token_from="remember", token=first["token"])["backend"] == first["backend"]


def test_the_cookie_comes_with_errors_too_and_replaces_one_that_cannot_be_read(daemon, backends):
    with daemon.connect() as client:
        assert served(backends, client, "/", status=b"404 Not Found")[1].startswith("SRV=")
        assert served(backends, client, "/", "Cookie: SRV=s1")[1].startswith("SRV=")


def test_those_with_a_token_are_placed_by_it(daemon, backends):
    with daemon.connect() as client:
        assert served(backends, client, "/some?token=secret-1")[1] is None
        assert served(backends, client, "/some")[1].startswith("some=")


def test_turns_by_weight(daemon, backends):
    with daemon.connect() as client:
        found = Counter(served(backends, client, "/turns?token=secret-1")[0] for _ in range(16))
    assert found == {0: 8, 1: 4, 2: 4}
    assert daemon.logged(path="/turns")["token"] == ""


def test_connections_take_turns(daemon, backends):
    found = Counter()
    for _ in range(8):
        with daemon.connect("raw") as client:
            client.send(b"hi")
            number, peer = reached(backends)
            assert peer.exactly(2) == b"hi"
            found[number] += 1
            peer.close()
    assert found == {0: 4, 1: 2, 2: 2}
