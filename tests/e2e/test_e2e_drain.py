"""The end of the daemon: SIGTERM lets requests and tunnels finish, a second one does not wait."""

import signal

import pytest
from harness import Daemon, listener, pool
from test_e2e_tunnels import AGREED, HANDSHAKE
from wire import answer, get


@pytest.fixture
def daemon(tmp_path, backend, authority):
    tls = {"certificates": [authority.issue("ide.example")]}
    listeners = [listener(), listener("safe", tls=tls)]
    with Daemon(tmp_path, listeners=listeners, pool=[pool(backend)]) as running:
        yield running


def drain(daemon):
    """SIGTERM, and the daemon has taken it."""
    daemon.process.send_signal(signal.SIGTERM)
    daemon.stderr.wait_for(lambda line: "SIGTERM" in line)


def refused(daemon):
    try:
        daemon.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def tunnel(client, backend):
    client.send(get("/tunnel?token=secret-1", *HANDSHAKE))
    peer = backend.accept()
    peer.head()
    peer.send(AGREED)
    assert client.head().status == 101
    return peer


def test_with_nothing_to_do(daemon):
    daemon.stop()


def test_many_signals_end_it_as_well_as_one(daemon):
    daemon.stop(signals=100)


def test_sigint_is_as_good(daemon):
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.ended() == 0


def test_idle_connections_end(daemon, backend):
    with daemon.connect() as fresh, daemon.connect() as used:
        used.send(get())
        peer = backend.accept()
        peer.request()
        peer.send(answer())
        used.response()
        drain(daemon)
        for each in fresh, used, peer:
            assert each.ended()
        assert daemon.ended() == 0


def test_a_request_is_finished_and_its_connection_then_ended(daemon, backend):
    with daemon.connect() as client:
        client.send(get("/last?token=secret-1"))
        peer = backend.accept()
        peer.request()
        drain(daemon)
        assert refused(daemon)
        peer.send(answer(b"the last"))
        response = client.response()
        assert (response.body, response["connection"]) == (b"the last", "close")
        assert client.ended()
    assert daemon.ended() == 0
    daemon.stdout.join()
    assert daemon.logged(path="/last")["ended"] == "ok"


def test_a_request_that_is_still_being_sent_is_served(daemon, backend):
    with daemon.connect() as client:
        client.send(get("/late?token=secret-1", "Content-Length: 4", method="POST", body=b"ab"))
        peer = backend.accept()
        peer.head()
        drain(daemon)
        client.send(b"cd")
        assert peer.exactly(4) == b"abcd"
        peer.send(answer(b"got it"))
        assert client.response().body == b"got it"
    assert daemon.ended() == 0


def test_pipelined_requests_are_finished_too(daemon, backend):
    with daemon.connect() as client:
        client.send(get("/1?token=secret-1") + get("/2?token=secret-1"))
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")
        assert client.head()["connection"] is None  # it does not know yet
        drain(daemon)
        peer.send(b"345")
        assert client.exactly(5) == b"12345"
        assert peer.request().target == "/2?token=secret-1"
        peer.send(answer(b"second"))
        response = client.response()
        assert (response.body, response["connection"]) == (b"second", "close")
        assert client.ended()


def test_a_first_request_that_is_on_its_way_is_served(daemon, authority, backend):
    with daemon.connect("safe", authority.client(), "ide.example") as client:
        drain(daemon)
        client.send(get("/first?token=secret-1"))
        peer = backend.accept()
        peer.request()
        peer.send(answer(b"just in time"))
        response = client.response()
        assert (response.body, response["connection"]) == (b"just in time", "close")
        assert client.ended()
    assert daemon.ended() == 0


def test_a_handshake_that_comes_too_late(daemon, authority):
    with daemon.connect("safe") as client:
        daemon.connect("safe", authority.client(), "ide.example").close()  # so that the first has been accepted
        drain(daemon)
        client.sock = authority.client().wrap_socket(client.sock, server_hostname="ide.example")
        assert client.ended()


def test_a_tunnel_may_stay_until_the_drain_is_over(tmp_path, backend):
    short = Daemon(tmp_path, pool=[pool(backend)], timeouts={"drain": "1s"})
    with short as daemon, daemon.connect() as client:
        peer = tunnel(client, backend)
        drain(daemon)
        for _ in range(3):
            client.send(b"\x81\x80abcd")
            assert peer.exactly(6) == b"\x81\x80abcd"
        # 1012, "service restart", to both, once the time is up.
        assert client.rest() == b"\x88\x02\x03\xf4"
        assert peer.rest()[:2] == b"\x88\x82"
        assert daemon.ended() == 0
        daemon.stdout.join()
        entry = daemon.logged(path="/tunnel", event="close")
        assert (entry["by"], entry["ended"]) == ("internal", "the balancer stops")
        assert entry["total_ms"] >= 1000


def test_a_tunnel_that_ends_early_ends_the_drain(tmp_path, backend):
    with Daemon(tmp_path, pool=[pool(backend)]) as daemon:
        with daemon.connect() as client:
            peer = tunnel(client, backend)
            drain(daemon)
            peer.close()
            assert client.ended()
        assert daemon.ended() == 0


def test_a_second_sigterm_ends_it_at_once(tmp_path, backend):
    running = Daemon(tmp_path, pool=[pool(backend)])
    with running as daemon, daemon.connect() as client, daemon.connect() as slow:
        peer = tunnel(client, backend)
        slow.send(get())
        waiting = backend.accept()
        waiting.request()
        drain(daemon)
        # Whoever is slow to say goodbye is not waited for.
        daemon.stop()
        assert peer.rest()[:2] == b"\x88\x82"
        assert slow.ended()
        assert waiting.ended()


def test_a_port_that_is_taken(tmp_path, backend):
    taken = str(backend)
    daemon = Daemon(tmp_path, listeners=[listener(bind=[taken])], pool=[pool("127.0.0.1:1")])
    assert daemon.ended() == 1
    daemon.stderr.join()
    daemon.stdout.join()
    assert f"a listener cannot be opened: {taken}: Address already in use; " in str(daemon.stderr).splitlines()[0]
