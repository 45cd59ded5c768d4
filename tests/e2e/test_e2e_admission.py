"""Admission at the real daemon: who waits, who is reset, what operators see of it."""

import contextlib
import resource
import socket

import pytest
from harness import Daemon, listener, of_session, pool
from scrape import metric
from wire import PATIENCE, Peer, answer, eventually, get

LISTENERS = [listener(), listener("raw", mode="tcp")]
WINDOW = 0.3
"""Seconds in which somebody who is to wait must not be served."""


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    return tmp_path_factory.mktemp("admin") / "admin.sock"


@pytest.fixture(scope="module")
def daemon(start, home, authority, control):
    tls = {"certificates": [authority.issue("ide.example")]}
    listeners = [
        listener(),
        listener("small", max_connections=2),
        listener("behind", proxy_protocol="accept", trusted=["127.0.0.1", "192.0.2.0/24"]),
        listener("safe", tls=tls),
    ]
    limits = {
        "max_connections_per_client": 3,
        "client_rate": "1/h",
        "client_burst": 5,
        "max_handshakes": 2,
    }
    timeouts = {"handshake": "1h"}  # those that end have given way
    admin = {"socket": str(control)}
    return start(listeners=listeners, pool=[pool(home)], limits=limits, timeouts=timeouts, admin=admin)


def come(daemon, address, name="web"):
    """A connection from one of the loopback's addresses: each test has its own, and so its own clients."""
    sock = socket.create_connection(("127.0.0.1", daemon.ports[name][0]), PATIENCE, source_address=(address, 0))
    return Peer(sock)


def served(client, backend, *lines):
    client.send(get("/?token=secret-1", *lines))
    peer = backend.peer()
    peer.request()
    peer.send(answer(b"welcome"))
    return client.response().body == b"welcome"


def refused(connect, *args, said=b""):
    """Reset, before anything was answered; on a busy machine even before its own ``connect`` looks how that went."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError), connect(*args) as client:
        client.send(said + get())
        assert client.more() == b""
        raise AssertionError("it was closed in order")
    return True


def waits(client):
    client.sock.settimeout(WINDOW)
    with pytest.raises(TimeoutError):
        client.more()
    client.sock.settimeout(PATIENCE)
    return True


def connections_refused(control, reason):
    return metric(control, "balancer_connections_refused_total", reason=reason)


def test_one_client_has_so_many_and_others_do_not_care(daemon, backend, control):
    before = connections_refused(control, "client_limit")
    with contextlib.ExitStack() as stack:
        mine = [stack.enter_context(come(daemon, "127.0.1.1")) for _ in range(3)]
        assert served(mine[2], backend)
        assert refused(come, daemon, "127.0.1.1")
        with come(daemon, "127.0.1.2") as other:
            assert served(other, backend)
        assert served(mine[0], backend)
        mine[1].close()
        assert served(mine[0], backend)  # by now the other has left
        with come(daemon, "127.0.1.1") as again:
            assert served(again, backend)
    assert connections_refused(control, "client_limit") == before + 1


def test_one_client_comes_so_fast(daemon, backend, control):
    for _ in range(5):
        with come(daemon, "127.0.2.1") as client:
            assert served(client, backend, "Connection: close")
            assert client.ended()
    assert refused(come, daemon, "127.0.2.1")
    with come(daemon, "127.0.2.2") as other:
        assert served(other, backend)
    assert connections_refused(control, "client_rate") >= 1


def test_behind_a_balancer_its_clients_count_and_not_itself(daemon, backend):
    with contextlib.ExitStack() as stack:
        for number in range(7):
            client = stack.enter_context(come(daemon, "127.0.0.1", "behind"))
            client.send(b"PROXY TCP4 192.0.2.%d 192.0.2.1 4711 443\r\n" % number)
            assert served(client, backend)
        for _ in range(2):
            client = stack.enter_context(come(daemon, "127.0.0.1", "behind"))
            client.send(b"PROXY TCP4 192.0.2.0 192.0.2.1 4711 443\r\n")
            assert served(client, backend)
        assert refused(come, daemon, "127.0.0.1", "behind", said=b"PROXY TCP4 192.0.2.0 192.0.2.1 4711 443\r\n")


def test_a_full_listener_lets_clients_wait_and_others_in(daemon, backend, control):
    with come(daemon, "127.0.3.1", "small") as first, come(daemon, "127.0.3.2", "small") as second:
        assert served(first, backend)
        assert served(second, backend)
        with come(daemon, "127.0.3.3", "small") as third:
            third.send(get())
            assert waits(third)
            assert metric(control, "balancer_listener_open_connections", listener="small") == 2
            with come(daemon, "127.0.3.3") as elsewhere:
                assert served(elsewhere, backend)
            first.close()
            peer = backend.peer()
            peer.request()
            peer.send(answer(b"at last"))
            assert third.response().body == b"at last"


def test_handshakes_that_never_end_give_way(daemon, backend, authority, control):
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(come(daemon, f"127.0.4.{number}", "safe")) for number in range(1, 5)]
        with daemon.connect("safe", authority.client(), "ide.example") as client:
            assert served(client, backend)
        assert all(peer.ended() for peer in silent[:3])
        assert waits(silent[3])  # nobody else has come in whose place it could be
    assert connections_refused(control, "handshakes") == 3


def test_without_memory_nobody_new_comes_in(tmp_path, home, control):
    control = control.with_name("starved.sock")
    with Daemon(tmp_path, pool=[pool(home)], limits={"memory": "1MiB"}, admin={"socket": str(control)}) as daemon:
        line = daemon.stderr.wait_for(lambda line: "limits.memory" in line)
        assert "new connections are refused" in line
        assert refused(daemon.connect)
        assert metric(control, "balancer_memory_exhausted") == 1
        assert connections_refused(control, "memory") >= 1
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(control))
            ready = Peer(sock).ask(get("/readyz"))
        assert ready.status == 503
        assert b"memory" in ready.body


def test_out_of_descriptors_it_lives_on(tmp_path, backend, control):
    control = control.with_name("narrow.sock")
    with contextlib.ExitStack() as stack:
        narrow = Daemon(tmp_path, pool=[pool(backend)], admin={"socket": str(control)}, listeners=LISTENERS)
        daemon = stack.enter_context(narrow)
        for pid in of_session(daemon.process.pid):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))
        tunnel = stack.enter_context(daemon.connect("raw"))
        tunnel.send(b"hello")
        far = backend.accept()
        assert far.exactly(5) == b"hello"
        with contextlib.ExitStack() as crowd:
            clients = [crowd.enter_context(daemon.connect()) for _ in range(80)]
            assert clients[-1].ended()  # closed, not left hanging
            for n in range(3):
                tunnel.send(b"%d" % n)
                assert far.exactly(1) == b"%d" % n
        eventually(lambda: metric(control, "balancer_connections") == 1)  # before, nobody new has a place
        with daemon.connect() as late:
            late.send(get("/late?token=secret-1"))
            peer = backend.accept()
            peer.request()
            peer.send(answer(b"here again"))
            assert late.response().body == b"here again"
        assert connections_refused(control, "descriptors") > 0
        far.close()
