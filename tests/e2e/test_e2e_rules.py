"""Rules of a listener: what is denied, redirected, answered here, or sent to another pool."""

import pytest
from harness import listener, pool
from wire import answer, get, reached

NAMES = ["ide", "api"]
RULES = [
    {"path": ["/ping"], "answer": {"type": "application/json", "text": '{"up": true}'}},
    {"path_prefix": ["/admin"], "not": {"client": ["10.0.0.0/8"]}, "deny": 403},
    {"path": ["/public"], "answer": {"text": "for all"}},
    {"path": ["/odd"], "deny": 444},
    {"path": ["/gone"], "answer": {"status": 204}},
    {"path": ["/old"], "redirect": {"location": "https://ide.example/new", "code": 301}},
    {"path_prefix": ["/secure"], "redirect": {"scheme": "https", "code": 308}},
    {"path_prefix": ["/move"], "redirect": {"prefix": "/there"}},
    {"host": ["www.ide.example"], "redirect": {"host": "ide.example:8443"}},
    {"method": ["DELETE"], "not": [{"header": {"X-Confirm": "yes"}}], "deny": 405},
    {"query": ["api"], "header": {"X-Beta": True}, "pool": "api"},
]


@pytest.fixture(scope="module")
def daemon(start, homes):
    behind = {"proxy_protocol": "accept", "trusted": ["127.0.0.0/8"]}
    listeners = [
        listener("web", rule=RULES),
        listener("proxied", rule=RULES, **behind),
        listener("raw", mode="tcp", rule=[{"not": [{"client": ["10.0.0.0/8"]}], "deny": 403}], **behind),
    ]
    return start(listeners=listeners, pool=[pool(home, name=name) for name, home in zip(NAMES, homes, strict=True)])


def served(backends, client):
    """Answer the request where it arrives; return the pool."""
    number, peer = reached(backends)
    peer.request()
    peer.send(answer(b"", "Connection: close"))
    assert client.response().status == 200
    peer.close()
    return NAMES[number]


def test_answers_and_redirects_keep_the_connection(daemon):
    with daemon.connect() as client:
        for target, status, fields, body in (
            ("/ping?x=1", 200, {"content-type": "application/json"}, b'{"up": true}'),
            ("/gone", 204, {}, b""),
            ("/old", 301, {"location": "https://ide.example/new"}, b""),
            ("/secure/a?b=c", 308, {"location": "https://ide.example/secure/a?b=c"}, b""),
            ("/move/a?b", 302, {"location": "/there/move/a?b"}, b""),
        ):
            client.send(get(target))
            response = client.response()
            assert (response.status, response.body) == (status, body)
            assert fields.items() <= dict(response.fields).items()
        client.send(get("/x?y").replace(b"ide.example", b"www.ide.example:80"))
        assert dict(client.response().fields)["location"] == "http://ide.example:8443/x?y"


def test_answers_to_head_have_no_body(daemon):
    with daemon.connect() as client:
        client.send(get("/ping").replace(b"GET", b"HEAD"))
        assert dict(client.response("HEAD").fields)["content-length"] == "12"
        client.send(get("/gone"))
        assert client.response().status == 204


@pytest.mark.parametrize(
    "path", ["/admin", "/%61dmin/x", "//admin", "/a/../admin", "/public/../admin", "/./admin", "/admin?token=secret-1"]
)
def test_denied_by_path_in_every_spelling(daemon, path):
    with daemon.connect() as client:
        client.send(get(path))
        assert client.response().status == 403


def test_a_status_that_is_not_registered(daemon):
    with daemon.connect() as client:
        client.send(get("/odd"))
        assert client.response().status == 444
    with daemon.connect() as client:
        client.send(get("/ping"))
        assert "date" in dict(client.response().fields)


@pytest.mark.parametrize("path", ["/a%2f..%2fadmin", "/a%5cadmin", "/%00"])
def test_paths_that_cannot_be_judged_are_refused(daemon, path):
    with daemon.connect() as client:
        client.send(get(path + "?token=secret-1"))
        assert client.response().status == 400


def test_the_client_is_the_one_of_the_proxy_header(daemon, backends):
    for source, denied in (("10.1.2.3", False), ("192.0.2.1", True)):
        with daemon.connect("proxied") as client:
            client.send(f"PROXY TCP4 {source} 192.0.2.9 1000 80\r\n".encode() + get("/admin?token=secret-1"))
            if denied:
                assert client.response().status == 403
            else:
                assert served(backends, client) == "ide"


def test_a_connection_is_denied_by_client(daemon, backends):
    with daemon.connect("raw") as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\r\n" + get("/"))
        assert client.ended()
    with daemon.connect("raw") as client:
        client.send(b"PROXY TCP4 10.0.0.1 192.0.2.9 1000 80\r\n" + get("/"))
        assert served(backends, client) == "ide"


def test_a_rule_chooses_a_pool(daemon, backends):
    for target, line, chosen in (
        ("/?api=1&token=secret-1", "X-Beta: 1", "api"),
        ("/?api=1&token=secret-1", "X-Alpha: 1", "ide"),
        ("/?token=secret-1", "X-Beta: 1", "ide"),
    ):
        with daemon.connect() as client:
            client.send(get(target, line))
            assert served(backends, client) == chosen


def test_a_denied_request_with_a_body_does_not_become_the_next_request(daemon, backends):
    with daemon.connect() as client:
        body = get("/ping")
        client.send(get("/?token=secret-1", f"Content-Length: {len(body)}").replace(b"GET", b"DELETE") + body)
        assert client.response().status == 405
        assert client.ended(), "what follows is a body that nobody reads"
    with daemon.connect() as client:
        client.send(get("/ping", f"Content-Length: {len(body)}") + body)
        assert client.response().status == 200
        assert client.ended()
