"""WebSockets and other upgrades: what is checked before the backend and after it, and how tunnels live and end."""

import base64
import hashlib

import pytest
from harness import listener, pool
from wire import PATIENCE, answer, get

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, 1.3
ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
VERSION = "Sec-WebSocket-Version: 13"
HANDSHAKE = (*UPGRADE, VERSION, f"Sec-WebSocket-Key: {KEY}")


def switching(*lines):
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""]).encode()


AGREED = switching(*UPGRADE, f"Sec-WebSocket-Accept: {ACCEPT}")


@pytest.fixture(scope="module")
def daemon(start, home, authority):
    listeners = [listener(), listener("safe", tls={"certificates": [authority.issue("ide.example")]})]
    return start(listeners=listeners, pool=[pool(home)], timeouts={"tunnel_idle": "1s", "response": "2s"})


@pytest.fixture
def client(daemon):
    with daemon.connect() as peer:
        yield peer


def opened(backend, client, path="/ws", early=b""):
    """A tunnel: the request that opened it, and the backend's end."""
    client.send(get(path + "?token=secret-1", *HANDSHAKE) + early)
    peer = backend.accept()
    request = peer.head()
    peer.send(AGREED)
    assert client.head().raw == AGREED.replace(*_own_order())
    return request, peer


def _own_order():
    """Connection and Upgrade are written by the balancer, after the other fields."""
    own = "".join(line + "\r\n" for line in UPGRADE).encode()
    accept = f"Sec-WebSocket-Accept: {ACCEPT}\r\n".encode()
    return own + accept, accept + own


class TestOpening:
    def test_the_handshake_is_passed_on(self, backend, client, daemon):
        request, peer = opened(backend, client, "/open")
        assert (request["connection"].lower(), request["upgrade"]) == ("upgrade", "websocket")
        assert (request["sec-websocket-key"], request["sec-websocket-version"]) == (KEY, "13")
        client.send(b"\x81\x80abcd")
        assert peer.exactly(6) == b"\x81\x80abcd"
        peer.send(b"\x81\x00")
        assert client.exactly(2) == b"\x81\x00"
        entry = daemon.logged(path="/open", event="open")
        assert (entry["status"], entry["backend"]) == (101, "host-0")

    def test_bytes_that_come_with_either_half_of_it(self, backend, client):
        client.send(get("/?token=secret-1", *HANDSHAKE) + b"early up")
        peer = backend.accept()
        peer.head()
        # Nothing of the tunnel reaches the backend before it has agreed to one.
        peer.sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            peer.more()
        peer.sock.settimeout(PATIENCE)
        peer.send(AGREED + b"early down")
        client.head()
        assert peer.exactly(8) == b"early up"
        assert client.exactly(10) == b"early down"

    @pytest.mark.parametrize(
        ("lines", "method", "status", "extra"),
        [
            ((*UPGRADE, "Sec-WebSocket-Version: 12", f"Sec-WebSocket-Key: {KEY}"), "GET", 426, "sec-websocket-version"),
            ((*UPGRADE, f"Sec-WebSocket-Key: {KEY}"), "GET", 426, "upgrade"),
            ((*UPGRADE, VERSION), "GET", 400, None),
            ((*UPGRADE, VERSION, "Sec-WebSocket-Key: short"), "GET", 400, None),
            ((*HANDSHAKE, f"Sec-WebSocket-Key: {KEY}"), "GET", 400, None),
            ((*HANDSHAKE, "Content-Length: 0"), "POST", 405, "allow"),
            ((*HANDSHAKE, "Content-Length: 2"), "GET", 400, None),
        ],
    )
    def test_what_is_no_handshake_never_reaches_the_backend(self, backend, client, lines, method, status, extra):
        response = client.ask(get("/?token=secret-1", *lines, method=method))
        assert response.status == status
        assert extra is None or response[extra] is not None
        assert backend.untouched()

    def test_a_tunnel_needs_a_token_too(self, backend, client):
        assert client.ask(get("/ws", *HANDSHAKE)).status == 400
        assert backend.untouched()

    @pytest.mark.parametrize(
        "response",
        [
            switching(*UPGRADE),
            switching(*UPGRADE, "Sec-WebSocket-Accept: " + base64.b64encode(b"x" * 20).decode()),
            switching("Connection: Upgrade", "Upgrade: chat", f"Sec-WebSocket-Accept: {ACCEPT}"),
            switching("Upgrade: websocket", f"Sec-WebSocket-Accept: {ACCEPT}"),
            switching(f"Sec-WebSocket-Accept: {ACCEPT}"),
        ],
    )
    def test_a_false_101_opens_nothing(self, backend, client, response):
        client.send(get("/false?token=secret-1", *HANDSHAKE))
        peer = backend.accept()
        peer.head()
        peer.send(response + answer(b"smuggled"))
        assert client.response().status == 502
        assert peer.ended()

    def test_a_101_nobody_asked_for(self, backend, client):
        client.send(get("/unasked?token=secret-1"))
        peer = backend.accept()
        peer.head()
        peer.send(AGREED)
        assert client.response().status == 502
        assert peer.ended()

    def test_a_backend_may_refuse(self, backend, client):
        client.send(get("/?token=secret-1", *HANDSHAKE))
        peer = backend.accept()
        peer.head()
        peer.send(answer(b"not here", status="403 Forbidden"))
        response = client.response()
        assert (response.status, response.body) == (403, b"not here")
        client.send(get())
        assert peer.request().start.startswith("GET ")
        peer.send(answer(b"the connection goes on"))
        assert client.response().body == b"the connection goes on"

    def test_other_protocols_may_be_switched_to(self, backend, client):
        client.send(get("/?token=secret-1", "Connection: upgrade", "Upgrade: chat/2, chat/1"))
        peer = backend.accept()
        assert peer.head()["upgrade"] == "chat/2, chat/1"
        peer.send(switching("Connection: upgrade", "Upgrade: chat/1"))
        assert client.head()["upgrade"] == "chat/1"
        client.send(b"hello")
        assert peer.exactly(5) == b"hello"

    @pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "H2C"])
    def test_but_never_to_h2c(self, backend, client, upgrade):
        client.send(get("/?token=secret-1", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}"))
        peer = backend.accept()
        request = peer.head()
        assert request["upgrade"] is request["connection"] is None
        peer.send(answer())
        assert client.response().status == 200


class TestEnding:
    @pytest.mark.parametrize("first", ["client", "backend"])
    def test_half_a_close_leaves_the_other_direction_open(self, backend, client, daemon, first):
        _, peer = opened(backend, client, f"/half/{first}")
        one, other = (client, peer) if first == "client" else (peer, client)
        one.send(b"last")
        one.end()
        assert other.rest() == b"last"
        for _ in range(3):
            other.send(b"more")
            assert one.exactly(4) == b"more"
        other.end()
        assert one.ended()
        entry = daemon.logged(path=f"/half/{first}", event="close")
        assert (entry["ended"], entry["by"]) == ("closed", first)

    @pytest.mark.parametrize("first", ["client", "backend"])
    def test_a_reset_is_passed_on(self, backend, client, daemon, first):
        _, peer = opened(backend, client, f"/reset/{first}")
        one, other = (client, peer) if first == "client" else (peer, client)
        one.reset()
        with pytest.raises(ConnectionResetError):
            other.more()
        entry = daemon.logged(path=f"/reset/{first}", event="close")
        assert entry["by"] == first
        assert "ECONNRESET" in entry["ended"]

    def test_silence_ends_it_and_talk_keeps_it(self, backend, client, daemon):
        _, peer = opened(backend, client, "/silence")
        client.send(b"a word")
        assert peer.exactly(6) == b"a word"
        assert client.ended()
        assert peer.ended()
        entry = daemon.logged(path="/silence", event="close")
        assert (entry["ended"], entry["by"]) == ("silent for too long", "internal")
        assert 1000 <= entry["total_ms"] < 3000

    def test_over_tls(self, backend, daemon, authority):
        with daemon.connect("safe", authority.client(), "ide.example") as client:
            _, peer = opened(backend, client, "/tls")
            client.send(b"x" * 200_000)
            assert peer.exactly(200_000) == b"x" * 200_000
            peer.close()
            assert client.more() == b""  # close_notify, or this would raise
