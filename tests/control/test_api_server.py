"""The admin API as a server: whatever is sent to it, it answers properly or closes, and lives on."""

import contextlib
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from admin_rig import NAMES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire import PATIENCE, Peer, get

STATUS = get("/v1/status")


def connect(daemon):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(daemon.socket)
    return Peer(sock)


def said_to(daemon, data):
    """Everything it answers to bytes after which nothing more comes."""
    with connect(daemon) as peer:
        with contextlib.suppress(BrokenPipeError):
            peer.send(data)
            peer.end()
        with contextlib.suppress(ConnectionResetError):
            return peer.rest()
    return b""


def pieces():
    """What requests are made of, in any order."""
    lines = [
        b"GET /v1/status HTTP/1.1\r\n",
        b"POST /v1/trace HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"\r\n",
        b"{}",
        b"\0",
        b"\r",
    ]
    lines += [
        b"Content-Length: 2\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"2\r\n{}\r\n0\r\n\r\n",
    ]
    return st.lists(st.one_of(st.sampled_from(lines), st.binary(max_size=40)), max_size=12).map(b"".join)


@settings(max_examples=100)
@given(pieces())
@example(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
@example(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
@example(b"GET /%ff?limit=%ff HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET http://a/v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"POST /v1/trace HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
def test_any_bytes(daemon, data):
    answer = said_to(daemon, data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert b" 500 " not in answer
    assert daemon.get("/healthz") == {"ok": True}


@settings(max_examples=40)
@given(st.sampled_from(["explain", "plan", "pins", "digest", "settle", "backends/ide-01/weight"]), st.data())
def test_any_json(daemon, path, data):
    """Bodies that are JSON but not what is asked for are refused, and change nothing."""
    keys = st.sampled_from(["token", "prefix", "backend", "seconds", "changes", "op", "weight", "rate", "at", "reason"])
    leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10) | st.sampled_from(NAMES)
    trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4))
    method = "PUT" if path.endswith("weight") else "POST"
    answer = daemon.ask(method, f"./{path}", data.draw(trees))
    assert answer.status in (200, 201, 202, 400, 409), answer.text
    daemon.reset()


def test_a_connection_is_kept(daemon):
    with connect(daemon) as peer:
        for _ in range(3):
            assert peer.ask(STATUS).status == 200
        peer.send(STATUS + STATUS)
        assert [peer.response().status, peer.response().status] == [200, 200]
        assert peer.ask(get("/v1/status", "Connection: close")).status == 200
        assert peer.ended()


def test_answers_have_a_date(daemon):
    with connect(daemon) as peer:
        for path, status in (("/healthz", 200), ("/none", 404)):
            response = peer.ask(get(path))
            assert response.status == status
            sent = parsedate_to_datetime(response["date"])
            assert abs((sent - datetime.now(UTC)).total_seconds()) < 60


def test_http_1_0(daemon):
    answer = said_to(daemon, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"}\n")


def test_head_is_get_without_a_body(daemon):
    with connect(daemon) as peer:
        response = peer.ask(get("/healthz", method="HEAD"), "HEAD")
        assert (response.status, int(response["content-length"]) > 0) == (200, True)
        assert peer.ask(STATUS).status == 200


def test_a_client_that_asks_before_it_sends(daemon):
    with connect(daemon) as peer:
        peer.send(get("/v1/trace", "Content-Length: 14", "Expect: 100-continue", method="POST"))
        assert peer.head().status == 100
        assert peer.ask(b'{"seconds":60}').status == 200


def test_a_head_without_end(daemon):
    with connect(daemon) as peer:
        peer.takes(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert peer.response().status == 431
        assert peer.ended()


def test_a_body_without_end(daemon):
    with connect(daemon) as peer:
        peer.takes(get("/v1/trace", "Content-Length: 99999999", method="POST", body=b"x" * 1_000_000))
        response = peer.response()
        assert (response.status, response["connection"]) == (413, "close")
        assert peer.ended()


def test_one_client_too_many(daemon):
    """The others are served, and there is room again when one has left."""
    peers = [connect(daemon) for _ in range(64)]
    try:
        assert [peer.ask(STATUS).status for peer in peers] == [200] * 64
        with connect(daemon) as further:
            assert further.ended()
        peers[0].end()
        assert peers[0].ended()
        assert daemon.get("/healthz") == {"ok": True}
        assert peers[1].ask(STATUS).status == 200
    finally:
        for peer in peers:
            peer.close()


def test_a_client_that_leaves_before_its_answer(daemon):
    for _ in range(20):
        peer = connect(daemon)
        peer.send(STATUS * 50)
        peer.close()
    assert daemon.get("/healthz") == {"ok": True}


class TestRoutes:
    def test_nothing_there(self, daemon):
        for path in (
            "/",
            "/v1",
            "/v1/pools/",
            "/v1/pools/ide/backends/ide-01/none",
            "/v1/pools/ide/pins/a/b",
            "//healthz",
        ):
            assert daemon.ask("GET", path).status == 404

    def test_another_method(self, daemon):
        for method, path, allowed in (
            ("POST", "/v1/status", "HEAD, GET"),
            ("GET", "./explain", "POST"),
            ("PATCH", "./pins", "HEAD, GET, POST"),
            ("GET", "./backends/ide-01/state", "PUT"),
            ("GET", "./settle", "POST, DELETE"),
        ):
            answer = daemon.ask(method, path)
            assert (answer.status, answer.headers["Allow"]) == (405, allowed)

    def test_no_such_pool_or_backend_or_plan(self, daemon):
        for method, path, said in (
            ("GET", "/v1/pools/other/ring", 'no pool "other"; existing pools: ide'),
            ("PUT", "./backends/ide-04/state", 'no backend "ide-04"; existing backends: ide-01, ide-02, ide-03'),
            ("PUT", "./backends/two%20words/state", 'no backend "two words"; existing backends: ide-01'),
            ("PUT", "./backends/..%2Fide-01/state", 'no backend "../ide-01"; existing'),
            ("PUT", "./backends//state", 'no backend ""; existing'),
            ("DELETE", "/v1/sessions/1%3A2", "no such session"),
            ("GET", "/v1/plans/a%2Fb", "no such plan"),
            ("GET", "/v1/plans/0123", "no such plan"),
            ("POST", "/v1/plans/0123/apply", "no such plan"),
            ("DELETE", "./pins/0123456789abcdef", "no such pin"),
        ):
            answer = daemon.ask(method, path, {"state": "drain"})
            assert (answer.status, said in answer.error) == (404, True), answer.text

    def test_get_changes_nothing(self, daemon):
        before = daemon.get("./journal")["count"]
        for path in ("/v1/status", "/v1/pools", "/v1/pools/ide", "./backends", "./ring", "./pins", "./strays"):
            assert daemon.ask("GET", path, {"state": "drain"}).status == 200
        assert daemon.get("./journal")["count"] == before

    def test_limits(self, daemon):
        for limit in ("-1", "x", "0.5", "%D9%A3", "1000000000000", "100001"):
            answer = daemon.ask("GET", f"./strays?limit={limit}")
            assert answer.status == 400
        assert len(daemon.get("./journal?limit=1")["entries"]) == 1
