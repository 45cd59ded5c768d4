"""Routes: which pool a request or a connection reaches, by what it asks for."""

import pytest
from harness import listener, pool
from wire import answer, get, reached

NAMES = ["ide", "api", "files", "names"]
ROUTES = [
    {"host": ["api.example", "*.api.example"], "path_prefix": ["/v1/"], "pool": "api"},
    {"path": ["/files"], "path_prefix": ["/files/"], "pool": "files"},
]
BY_NAME = {"sni": ["names.example", "*.names.example"], "pool": "names"}


@pytest.fixture(scope="module")
def daemon(start, homes, authority):
    tls = {"certificates": [authority.issue("ide.example", "*.names.example")]}
    listeners = [
        listener("web", route=ROUTES),
        listener("web-tls", tls=tls, route=[BY_NAME]),
        listener("raw", mode="tcp", route=[BY_NAME]),
        listener("mixed", mode="tcp", route=[BY_NAME], rule=[{"tls": False, "pool": "api"}]),
        listener("raw-tls", mode="tcp", tls=tls, route=[BY_NAME]),
    ]
    pools = [pool(home, name=name) for name, home in zip(NAMES, homes, strict=True)]
    pools[2]["token"] = {"source": "header", "header": "X-User"}
    return start(listeners=listeners, pool=pools)


def serve(backends, client, request):
    """Send it, answer it where it arrives, and tell the pool."""
    client.send(request)
    number, peer = reached(backends)
    peer.request()
    peer.send(answer(b"", "Connection: close"))
    assert client.response().status == 200
    peer.close()
    return NAMES[number]


def test_every_request_goes_its_own_way(daemon, backends):
    def to(host, target, *lines):
        return get(target, *lines).replace(b"ide.example", host)

    with daemon.connect() as client:
        assert serve(backends, client, to(b"ide.example", "/v1/?token=secret-1")) == "ide"
        assert serve(backends, client, to(b"API.example:80", "/v1/?token=secret-1")) == "api"
        assert serve(backends, client, to(b"eu.api.example", "/v1/x?token=secret-1")) == "api"
        assert serve(backends, client, to(b"api.example", "/v2/?token=secret-1")) == "ide"
        assert serve(backends, client, to(b"api.example", "/files", "X-User: secret-1")) == "files"
        assert serve(backends, client, to(b"a", "/filesystem?token=secret-1")) == "ide"
        refused = client.ask(to(b"a", "/files/?token=secret-1"))
        assert (refused.status, refused.body) == (400, b"400 Bad Request: the token is missing\n")
    assert daemon.logged(path="/v1/x")["pool"] == "api"
    assert daemon.logged(path="/files/")["pool"] == "files"


def test_a_pipelined_request_is_routed_when_its_turn_comes(daemon, backends):
    with daemon.connect() as client:
        client.send(get("/files", "X-User: secret-1") + get("/?token=secret-1"))
        for wanted in ("files", "ide"):
            number, peer = reached(backends)
            peer.request()
            peer.send(answer(b"", "Connection: close"))
            assert client.response().status == 200
            assert NAMES[number] == wanted
            peer.close()


@pytest.mark.parametrize(("name", "wanted"), [("a.names.example", "names"), ("ide.example", "ide")])
def test_by_server_name(daemon, backends, authority, name, wanted):
    context = authority.client()
    with daemon.connect("web-tls", context, name) as client:
        assert serve(backends, client, get()) == wanted
    with daemon.connect("raw-tls", context, name) as client:
        client.send(b"hi")
        number, peer = reached(backends)
        assert peer.exactly(2) == b"hi"
        assert NAMES[number] == wanted
    hello = authority.hello(name)
    with daemon.connect("raw") as client:
        client.send(hello)
        number, peer = reached(backends)
        assert peer.exactly(len(hello)) == hello
        assert NAMES[number] == wanted
    assert daemon.logged(listener="raw", pool=wanted, event="open")["backend"] == "host-0"


@pytest.mark.parametrize(("way", "wanted"), [("raw", "ide"), ("mixed", "api")])
@pytest.mark.parametrize(
    "sent", [b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x02\x00"], ids=["ssh", "http", "ssl"]
)
def test_a_client_without_tls_goes_where_no_name_leads(daemon, backends, way, wanted, sent):
    with daemon.connect(way) as client:
        client.send(sent)
        number, peer = reached(backends)
        assert peer.exactly(len(sent)) == sent
        assert NAMES[number] == wanted


@pytest.fixture(scope="module")
def impatient(start, homes):
    pools = [pool(homes[0], name="ide"), pool(homes[3], name="names")]
    return start(listeners=[listener("raw", mode="tcp", route=[BY_NAME])], pool=pools, timeouts={"handshake": "100ms"})


def test_a_host_that_speaks_first_is_reached_by_a_silent_client(impatient, backends):
    with impatient.connect("raw") as client:
        number, peer = reached(backends)
        peer.send(b"220 ready\r\n")
        assert client.exactly(11) == b"220 ready\r\n"
        assert NAMES[number] == "ide"
