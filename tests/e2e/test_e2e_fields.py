"""Header fields that a listener and its pools set, on real sockets."""

import pytest
from harness import listener, pool
from wire import answer, get, reached

NAMES = ["ide", "api"]
BEHIND = {"proxy_protocol": "accept", "trusted": ["127.0.0.0/8"]}
RULES = [
    {"path": ["/denied"], "deny": 403},
    {"path": ["/moved"], "redirect": {"location": "https://ide.example/"}},
    {"path": ["/api"], "pool": "api"},
]


@pytest.fixture(scope="module")
def daemon(start, homes):
    fields = {
        "request_fields": {
            "set": {"X-Real-IP": "{client_address}:{client_port}", "X-Way": "{scheme} {port} {tls_version}{sni}"},
            "remove": ["X-Debug"],
        },
        "response_fields": {"set": {"Strict-Transport-Security": "max-age=1"}, "add": {"Vary": ["A", "B"]}},
    }
    of_api = {
        "request_fields": {"set": {"X-Real-IP": "hidden", "X-Id": "{request_id}"}},
        "response_fields": {"remove": ["Server", "Vary"], "set": {"X-Origin": "{header:Origin}"}},
    }
    return start(
        listeners=[
            listener("web", rule=RULES, **fields),
            listener("proxied", rule=RULES, **fields, **BEHIND),
            listener("keeping", forwarded="keep"),
            listener("setting", forwarded="set", trusted=["127.0.0.0/8"]),
        ],
        pool=[pool(homes[0]), pool(homes[1], name="api", **of_api)],
    )


def served(backends, client, said):
    """Answer the request where it arrives; return what the host and the client got."""
    client.send(said)
    _, peer = reached(backends)
    arrived = peer.request()
    peer.send(answer(b"", "Server: x", "Vary: C", "Connection: close"))
    response = client.response()
    peer.close()
    return arrived, response


def test_of_the_listener(daemon, backends):
    with daemon.connect() as client:
        port = client.sock.getsockname()[1]
        for _ in range(2):
            said = get("/?token=secret-1", "X-Real_IP: 9.9.9.9", "X-Debug: 1")
            arrived, response = served(backends, client, said)
            assert arrived["x-real-ip"] == f"127.0.0.1:{port}"
            assert arrived["x-way"] == f"http {client.sock.getpeername()[1]}"
            assert arrived["x-debug"] is arrived["x-real_ip"] is None
            assert response["strict-transport-security"] == "max-age=1"
            assert response.all("vary") == ["C", "A", "B"]


def test_the_pool_is_closer_to_the_host(daemon, backends):
    with daemon.connect() as client:
        arrived, response = served(backends, client, get("/api?token=secret-1", "Origin: https://a.example"))
        assert arrived["x-real-ip"] == "hidden"
        assert arrived["x-id"] == arrived["x-request-id"] == daemon.logged(path="/api")["request_id"]
        assert response["x-origin"] == "https://a.example"
        assert (response.all("vary"), response["server"]) == (["A", "B"], None)
        arrived, response = served(backends, client, get("/?token=secret-1"))
        assert (arrived["x-id"], response["server"]) == (None, "x")


@pytest.mark.parametrize(("path", "status"), [("/denied", 403), ("/moved", 302), ("/", 400)])
def test_our_own_answers_have_them_too(daemon, path, status):
    with daemon.connect() as client:
        client.send(get(path))
        response = client.response()
        assert (response.status, response["strict-transport-security"]) == (status, "max-age=1")


def test_a_tunnel_has_them_too(daemon, backends):
    with daemon.connect() as client:
        client.send(get("/?token=secret-1", "Connection: Upgrade", "Upgrade: chat"))
        _, peer = reached(backends)
        assert peer.request()["x-way"].startswith("http ")
        peer.send(
            answer(status="101 Switching Protocols").replace(
                b"Content-Length: 0\r\n", b"Upgrade: chat\r\nConnection: Upgrade\r\n"
            )
        )
        head = client.response()
        assert (head.status, head["strict-transport-security"]) == (101, "max-age=1")


def test_what_a_proxy_header_says(daemon, backends):
    with daemon.connect("proxied") as client:
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 8080\r\n")
        arrived, _ = served(backends, client, get("/?token=secret-1"))
        assert (arrived["x-real-ip"], arrived["x-way"]) == ("192.0.2.7:4711", "http 8080")


CLAIMS = ["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1", "X-Request-ID: theirs"]


def test_kept_as_they_came(daemon, backends):
    with daemon.connect("keeping") as client:
        arrived, _ = served(backends, client, get("/?token=secret-1", *CLAIMS))
        assert [arrived[line.partition(":")[0].lower()] for line in CLAIMS] == ["9.9.9.9", "https", "1", "theirs"]
        arrived, _ = served(backends, client, get("/?token=secret-1"))
        assert not {name for name, _ in arrived.fields if name.startswith("x-forwarded")}


def test_set_although_the_peer_is_trusted(daemon, backends):
    with daemon.connect("setting") as client:
        arrived, _ = served(backends, client, get("/?token=secret-1", *CLAIMS))
        assert (arrived["x-forwarded-for"], arrived["x-forwarded-proto"]) == ("127.0.0.1", "http")
        assert arrived["x-forwarded-port"] is None
        assert arrived["x-request-id"] != "theirs"
