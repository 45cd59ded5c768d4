"""Backends that cannot be reached: who is asked instead, what the client and the log are told, and for how long."""

import contextlib
import select
import socket

import pytest
from harness import Daemon, listener, pool
from wire import PATIENCE, Backend, answer, get, nobody


@contextlib.contextmanager
def deaf():
    """An address where connecting takes for ever: its backlog is full."""
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield "{}:{}".format(*full.getsockname())


@pytest.fixture
def daemon_of(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(*addresses, backup=None, **sections):
            timeouts = {"connect": "300ms", **sections.pop("timeouts", {})}
            hosts = pool(*addresses)
            if backup is not None:
                hosts["backend"].append({"name": "spare", "address": str(backup), "backup": True})
            return stack.enter_context(Daemon(tmp_path, pool=[hosts], timeouts=timeouts, **sections))

        yield start


def tokens_served(daemon, backend, count=12):
    """The log entries of requests with so many tokens, all answered by ``backend``."""
    for n in range(count):
        with daemon.connect() as client:
            client.send(get(f"/{n}?token=secret-{n}"))
            peer = backend.peer()
            peer.request()
            peer.send(answer())
            assert client.response().status == 200
    return [daemon.logged(path=f"/{n}") for n in range(count)]


@pytest.mark.parametrize(("broken", "reason"), [(nobody, "connection refused"), (deaf, "connect timed out")])
def test_a_broken_backend_is_skipped_and_held_off(daemon_of, backend, broken, reason):
    with broken() as address:
        daemon = daemon_of(address, backend)
        entries = tokens_served(daemon, backend)
        assert {entry["backend"] for entry in entries} == {"host-1"}
        tried = [entry for entry in entries if entry["tries"] == 2]
        skipped = [entry for entry in entries if entry["skipped"]]
        # Its users are moved; the first of them finds out, the others are spared.
        assert len(tried) == 1
        assert len(skipped) > 1
        assert all(entry["skipped"] == {"host-0": "failed to connect"} for entry in skipped)
        assert {entry["why"] for entry in skipped} == {"successor"}
        assert {entry["why"] for entry in entries if entry not in skipped} == {"owner"}
        warnings = [line for line in daemon.stderr.lines if " WARNING " in line and "backend" in line]
        assert len(warnings) == 1
        assert f"backend host-0 ({address}): " in warnings[0]
        assert reason in warnings[0]


def test_a_connect_that_takes_too_long_costs_its_timeout_once(daemon_of, backend):
    with deaf() as address:
        daemon = daemon_of(address, backend)
        waited = [entry for entry in tokens_served(daemon, backend) if entry["total_ms"] > 250]
    assert len(waited) == 1
    assert 300 <= waited[0]["connect_ms"] < 1500


def test_none_is_left(daemon_of):
    with nobody() as one, nobody() as other:
        daemon = daemon_of(one, other, listeners=[listener(), listener("raw", mode="tcp")])
        with daemon.connect() as client:
            for n in range(3):  # and the connection goes on
                response = client.ask(get(f"/{n}?token=secret-1"))
                assert (response.status, response["retry-after"]) == (503, "1")
                assert response.body == b"503 Service Unavailable: no backend could be reached\n"
                entry = daemon.logged(path=f"/{n}")
                assert (entry["status"], entry["by"], entry["tries"]) == (503, "backend", 2)
        with contextlib.suppress(ConnectionResetError), daemon.connect("raw") as client:
            assert client.ended()
        assert daemon.logged(listener="raw", event="close")["ended"] == "no backend could be reached"


def test_a_body_is_not_lost_with_the_backend_that_refused(daemon_of, backend):
    with nobody() as address:
        daemon = daemon_of(address, backend)
        for n in range(8):
            with daemon.connect() as client:
                client.send(get(f"/?token=secret-{n}", "Content-Length: 5", method="POST", body=b"whole"))
                peer = backend.peer()
                assert peer.request().body == b"whole"
                peer.send(answer())
                assert client.response().status == 200


def test_a_backend_that_comes_back_gets_its_users_back(daemon_of, backend):
    """After a few seconds, not at once: until then it is tried only if nobody else is left."""
    with nobody() as address:
        host, port = address.split(":")
        daemon = daemon_of(address)
        with daemon.connect() as client:
            assert client.ask(get()).status == 503
    with socket.create_server((host, int(port))) as listener_:
        listener_.settimeout(PATIENCE)
        with daemon.connect() as client:
            client.send(get("/back?token=secret-1"))
            sock, _ = listener_.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(answer(b"back"))
                assert client.response().body == b"back"
        assert daemon.logged(path="/back")["why"] == "panic"


def test_backends_on_unix_sockets(daemon_of, tmp_path):
    path = tmp_path / "host.sock"
    daemon = daemon_of(f"unix:{path}")
    with daemon.connect() as client:
        assert client.ask(get()).status == 503
        with socket.socket(socket.AF_UNIX) as home:
            home.bind(str(path))
            home.listen()
            client.send(get())
            sock, _ = home.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(answer(b"local"))
                assert client.response().body == b"local"


def test_a_backup_gets_everybody_while_nobody_else_can_be_reached(daemon_of, backend):
    with nobody() as one, nobody() as another:
        daemon = daemon_of(one, another, backup=backend)
        entries = tokens_served(daemon, backend)
        assert {(entry["backend"], entry["why"]) for entry in entries} == {("spare", "backup")}
        assert {tuple(sorted(entry["skipped"])) for entry in entries} == {("host-0", "host-1")}
        assert [entry["tries"] for entry in entries] == [3] + [1] * 11


@pytest.fixture
def pair():
    backends = Backend(), Backend()
    yield backends
    for backend in backends:
        backend.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_answered_in_time_is_asked_elsewhere_if_it_may_be(daemon_of, pair, method):
    silent, other = pair
    daemon = daemon_of(silent, other, timeouts={"response": "300ms"})
    for n in range(12):  # until a token is that of the silent host
        with daemon.connect() as client:
            client.send(get(f"/{n}?token=secret-{n}", "Content-Length: 4", method=method, body=b"body"))
            ready, _, _ = select.select([silent.listener, other.listener], [], [], PATIENCE)
            first = silent if ready == [silent.listener] else other
            peer = first.accept()
            assert peer.request().body == b"body"
            if first is other:
                peer.send(answer(b"", "Connection: close"))
                assert client.response().status == 200
                continue
            if method == "GET":
                second = other.accept()
                assert second.request().body == b"body"
                second.send(answer(b"from the other"))
                assert client.response().body == b"from the other"
                entry = daemon.logged(path=f"/{n}")
                assert (entry["tries"], entry["skipped"]) == (2, {"host-0": "gave no answer"})
            else:
                assert client.response().status == 504
                assert other.untouched()
            assert peer.ended()
            return
    pytest.fail("no token of the silent host among twelve")
