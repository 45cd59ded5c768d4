"""A backend that dies in the middle of its answer, a client that stops: nobody takes a part for the whole."""

import contextlib
import itertools

import pytest
from harness import listener, pool
from wire import get

PART = b"x" * 50_000
FRAMINGS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + PART,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(PART), PART),
    "within-a-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + PART,
}

REASONS = {
    "close": "the backend closed in the middle of its answer",
    "reset": "the backend connection broke (ECONNRESET)",
    "stall": "the backend stopped in the middle of its answer",
}
BULK = bytes(100_000_000)


@pytest.fixture(scope="module")
def daemon(start, home, authority):
    listeners = [listener(), listener("safe", tls={"certificates": [authority.issue("ide.example")]})]
    return start(
        listeners=listeners,
        pool=[pool(home)],
        timeouts={"response": "600ms", "idle": "600ms", "send": "600ms", "tunnel_idle": "600ms"},
    )


@pytest.fixture(params=["plain", "tls"])
def connect(request, daemon, authority):
    tls = {"name": "safe", "tls": authority.client(), "server_name": "ide.example"} if request.param == "tls" else {}
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(daemon.connect(**tls))


@pytest.fixture
def client(connect):
    return connect()


def cut(client):
    """What still comes until the connection breaks off; None if it ends in order."""
    got = b""
    try:
        while data := client.more():
            got += data
    except OSError:
        return got
    return None


class TestBackendDies:
    @pytest.mark.parametrize("death", ["close", "reset", "stall"])
    def test_in_its_body(self, backend, connect, daemon, death):
        answers = []
        for framing, version in itertools.product(FRAMINGS, ["1.1", "1.0"]):
            client = connect()
            path = f"/{framing}/{version}/{death}/{type(client.sock).__name__}"
            client.send(get(path + "?token=secret-1", version=version))
            peer = backend.accept()
            peer.request()
            peer.send(FRAMINGS[framing])
            assert client.head().status == 200
            client.exactly(40_000)
            if death != "stall":
                getattr(peer, death)()
            answers.append((client, framing, version, path))
        for client, framing, version, path in answers:
            body = cut(client)
            if framing == "length" or version == "1.1":
                # The client counts, or misses the last chunk: how the connection ends is all the same to it.
                assert body is None or not body.endswith(b"0\r\n\r\n"), path
            else:
                # Without framing, only the break itself tells an HTTP/1.0 client that something is missing.
                assert body is not None, path
            entry = daemon.logged(path=path)
            assert (entry["by"], entry["status"]) == ("backend", 200)
            assert entry["ended"] == REASONS[death]

    def test_in_a_body_that_its_close_would_end(self, backend, client, daemon):
        path = f"/until-close/{type(client.sock).__name__}"
        client.send(get(path + "?token=secret-1"))
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + PART)
        client.head()
        client.exactly(40_000)
        peer.reset()
        assert cut(client) is not None
        assert daemon.logged(path=path)["by"] == "backend"

    @pytest.mark.parametrize("death", ["close", "reset"])
    @pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
    def test_in_its_head(self, backend, client, daemon, head, death):
        path = f"/head{len(head)}/{death}/{type(client.sock).__name__}"
        client.send(get(path + "?token=secret-1", "Content-Length: 2", method="POST", body=b"hi"))
        peer = backend.accept()
        peer.request()
        peer.send(head)
        if b"100" in head:
            assert client.head().status == 100
        getattr(peer, death)()
        assert client.response().status == 502
        assert daemon.logged(path=path)["by"] == "backend"


class TestClientStops:
    def test_reading(self, backend, client, daemon):
        """A client that does not read is waited for, then let go; the backend is stopped meanwhile."""
        path = f"/stops/{type(client.sock).__name__}"
        client.send(get(path + "?token=secret-1"))
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        with daemon.bounded():
            assert not peer.takes(BULK)
        entry = daemon.logged(path=path)
        assert (entry["by"], entry["ended"]) == ("client", "the client reads too slowly, or not at all")
        assert entry["bytes_out"] < 30_000_000

    def test_sending(self, backend, client, daemon):
        path = f"/dies/{type(client.sock).__name__}"
        client.send(get(path + "?token=secret-1", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n"))
        peer = backend.accept()
        peer.head()
        assert peer.exactly(10) == b"5\r\nhello\r\n"
        client.reset()
        assert peer.ended()  # without a last chunk
        assert daemon.logged(path=path)["by"] == "client"


class TestBackendStops:
    def test_reading(self, backend, client, daemon):
        path = f"/full/{type(client.sock).__name__}"
        client.send(get(path + "?token=secret-1", "Content-Length: 100000000", method="POST"))
        peer = backend.accept()
        peer.head()
        with daemon.bounded():
            client.send(BULK)
        assert client.response().status == 504
        entry = daemon.logged(path=path)
        assert (entry["by"], entry["status"]) == ("backend", 504)
        assert entry["bytes_in"] < 30_000_000
        assert entry["ended"] == "the backend stopped reading the request"
