"""Slow senders and slow readers: cut below a rate, left alone above it; tunnels are left alone while anything moves."""

import contextlib
import socket
import time

import pytest
from harness import listener, pool
from wire import PATIENCE, Peer, get

WINDOW = 0.4
RATE = 200_000
BULK = bytes(32 << 20)
"""More than all buffers on the way hold."""


@pytest.fixture(scope="module")
def daemon(start, home, authority):
    safe = listener("safe", tls={"certificates": [authority.issue("ide.example")]})
    return start(
        listeners=[listener(), safe, listener("raw", mode="tcp")],
        pool=[pool(home, retry={"count": 0})],
        limits={"min_rate": RATE},
        timeouts={"idle": "400ms", "send": "400ms"},
    )


@pytest.fixture(params=["web", "safe"])
def client(request, daemon, authority):
    """One whose system takes little that it has not asked for."""
    with small(daemon, request.param) as peer:
        if request.param == "safe":
            peer.sock = authority.client().wrap_socket(
                peer.sock, server_hostname="ide.example", suppress_ragged_eofs=False
            )
        yield peer


def small(daemon, name):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", daemon.ports[name][0]))
    return Peer(sock)


def send_all_that_goes(peer, data):
    """Fill the buffers on the way."""
    peer.sock.settimeout(0.05)
    with contextlib.suppress(TimeoutError):
        peer.sock.sendall(data)
    peer.sock.settimeout(PATIENCE)


def paced(act, seconds, pause=0.02):
    """Do it again and again for so long, with pauses; false once it fails."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            act()
        except OSError:
            return False
        time.sleep(pause)
    return True


class TestBodies:
    def test_one_that_comes_too_slowly_is_refused(self, daemon, backend, client):
        client.send(get("/slow?token=secret-1", "Content-Length: 1000000", method="POST"))
        peer = backend.accept()
        peer.head()
        assert paced(lambda: client.send(b"x" * 100), 2 * WINDOW)  # 5 kB/s, and never silent
        assert client.response().status == 408
        entry = daemon.logged(path="/slow")
        assert (entry["status"], entry["by"]) == (408, "client")
        assert entry["ended"] == "the request body comes too slowly, or not at all"
        assert WINDOW * 1000 <= entry["total_ms"] < 2000

    def test_one_that_comes_fast_enough_may_take_its_time(self, daemon, backend, client):
        client.send(get("/steady?token=secret-1", "Content-Length: 3000000", method="POST"))
        peer = backend.accept()
        peer.head()
        sent = 0

        def some():
            nonlocal sent
            client.send(b"x" * 20_000)
            sent += 20_000

        assert paced(some, 3 * WINDOW)
        client.send(b"x" * (3_000_000 - sent))
        assert len(peer.exactly(3_000_000)) == 3_000_000
        peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.response().status == 204


class TestAnswers:
    def begun(self, backend, client, path):
        client.send(get(f"{path}?token=secret-1"))
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BULK))
        send_all_that_goes(peer, BULK)

    def test_who_reads_too_slowly_is_cut(self, daemon, backend, client):
        self.begun(backend, client, "/drops")
        paced(lambda: client.sock.recv(50), 2 * WINDOW)
        entry = daemon.logged(path="/drops")
        assert (entry["by"], entry["ended"]) == ("client", "the client reads too slowly, or not at all")

    def test_who_reads_fast_enough_gets_all_of_it(self, daemon, backend, client):
        self.begun(backend, client, "/streams")
        read = 0

        def some():
            nonlocal read
            read += len(client.sock.recv(16384))

        assert paced(some, 3 * WINDOW)
        assert read < len(BULK) / 4


class TestTunnels:
    def test_who_takes_nothing_is_cut_whatever_it_says(self, daemon, backend):
        with small(daemon, "raw") as client:
            client.send(b"hello")
            peer = backend.accept()
            assert peer.exactly(5) == b"hello"
            send_all_that_goes(peer, BULK)
            assert not paced(lambda: client.send(b"more"), 4)
            entry = daemon.logged(listener="raw", event="close")
            assert (entry["by"], entry["ended"]) == ("client", "the client stopped reading")
            with pytest.raises(ConnectionError):
                peer.rest()

    def test_who_takes_little_may_stay(self, daemon, backend):
        with small(daemon, "raw") as client:
            client.send(b"hello")
            peer = backend.accept()
            assert peer.exactly(5) == b"hello"
            send_all_that_goes(peer, BULK)
            assert paced(lambda: client.sock.recv(12_000), 3 * WINDOW, 0.1)  # below the rate
            client.send(b"still there")
            assert peer.exactly(11) == b"still there"
