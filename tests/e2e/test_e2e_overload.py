"""Backends with a limit, users who come too fast, and retries that end: what clients, log and operators see."""

import contextlib
import itertools
import time

import pytest
from harness import listener, pool
from scrape import metric
from wire import PATIENCE, answer, get, nobody

from balancer.config.pool import BackendConfig, PoolConfig
from balancer.ring.build import build

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


PAIR = PoolConfig(
    name="pair", backend=tuple(BackendConfig(name=f"host-{n}", address=f"127.0.0.1:{n + 1}") for n in range(2))
)


def tokens_of(host, count):
    """Tokens that belong to one of two hosts."""
    ring = build(PAIR)
    tokens = (f"secret-{number}" for number in itertools.count())
    return list(itertools.islice((token for token in tokens if ring.owner(token.encode()) == host), count))


@pytest.fixture(scope="module")
def other(hosts):
    return hosts()


@pytest.fixture
def spare(other):
    """A second backend without connections of other tests."""
    yield other
    other.forget()


@pytest.fixture(scope="module")
def nobodies():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(nobody()) for _ in range(4)]


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    return tmp_path_factory.mktemp("admin") / "admin.sock"


@pytest.fixture(scope="module")
def daemon(start, home, other, nobodies, control):
    full = {"max_connections": 1, "queue": 2, "queue_timeout": "400ms", "linger": "1ms"}
    pools = [
        pool(home, name="one", **full),
        pool(home, other, name="two", when_full="successor", **full),
        pool(home, name="metered", token={"rate": "1/m", "burst": 2}),
        pool(home, other, name="again"),
        pool(home, name="never", retry={"count": 0}),
        pool(*nobodies, name="dead", retry={"count": 2}),
    ]
    listeners = [listener(each["name"], pool=each["name"]) for each in pools]
    return start(listeners=listeners, pool=pools, admin={"socket": str(control)}, timeouts={"response": "5s"})


@pytest.fixture
def connect(daemon):
    """Clients that leave with a reset: one that only closes may still wait for its answer."""
    with contextlib.ExitStack() as stack:

        def connected(name):
            peer = daemon.connect(name)
            stack.callback(lambda: peer.sock.fileno() < 0 or peer.reset())
            return peer

        yield connected


def busy(connect, backend, name, path="/busy", *lines):
    """A client whose request the backend has, and does not answer; and the backend's side."""
    client = connect(name)
    client.send(get(f"{path}?token=secret-1", *lines))
    peer = backend.accept()
    peer.request()
    return client, peer


def queued(control, number, name="one"):
    """Wait until so many requests wait for a place."""
    deadline = time.monotonic() + PATIENCE
    while metric(control, "balancer_backend_queued_requests", backend="host-0", pool=name) != number:
        assert time.monotonic() < deadline, "they do not wait"


class TestFull:
    def test_one_waits_for_its_turn(self, daemon, backend, connect, control):
        first, peer = busy(connect, backend, "one")
        second = connect("one")
        second.send(get("/waited?token=secret-1"))
        queued(control, 1)
        peer.send(answer(b"first"))
        assert first.response().body == b"first"
        assert peer.request().target.startswith("/waited")  # on the kept connection
        peer.send(answer(b"second"))
        assert second.response().body == b"second"
        entry = daemon.logged(path="/waited")
        assert entry["queue_ms"] > 0
        assert (entry["tries"], entry["status"], entry["skipped"]) == (1, 200, {})
        queued(control, 0)

    def test_they_have_their_turns_in_order(self, daemon, backend, connect, control):
        first, peer = busy(connect, backend, "one")
        waiting = []
        for number in range(2):
            client = connect("one")
            client.send(get(f"/turn{number}?token=secret-{number}"))
            waiting.append(client)
            queued(control, number + 1)
        assert connect("one").ask(get("/too-many?token=secret-9")).status == 503  # at once
        assert daemon.logged(path="/too-many")["queue_ms"] < 100
        peer.send(answer())
        assert first.response().status == 200
        for number, client in enumerate(waiting):
            assert peer.request().target.startswith(f"/turn{number}")
            peer.send(answer())
            assert client.response().status == 200

    def test_it_does_not_wait_for_ever(self, daemon, backend, connect, control):
        before = metric(control, "balancer_backend_full_total", backend="host-0", pool="one")
        busy(connect, backend, "one")
        late = connect("one")
        response = late.ask(get("/late?token=secret-1"))
        assert (response.status, response["retry-after"]) == (503, "1")
        assert response.body == b"503 Service Unavailable: the backend is full\n"
        entry = daemon.logged(path="/late")
        assert 400 <= entry["queue_ms"] < 2000
        assert (entry["ended"], entry["by"], entry["backend"]) == ("the backend is full", "backend", "host-0")
        assert metric(control, "balancer_backend_full_total", backend="host-0", pool="one") == before + 1

    def test_a_client_that_leaves_makes_room_in_the_queue(self, daemon, backend, connect, control):
        busy(connect, backend, "one")
        impatient = connect("one")
        impatient.send(get("/impatient?token=secret-1"))
        queued(control, 1)
        impatient.reset()
        entry = daemon.logged(path="/impatient")
        assert (entry["status"], entry["by"]) == (499, "client")
        queued(control, 0)

    def test_a_tunnel_has_its_place_until_it_ends(self, daemon, backend, connect, control):
        client, peer = busy(connect, backend, "one", "/tunnel", *UPGRADE)
        peer.send(AGREED)
        assert client.head().status == 101
        waiting = connect("one")
        waiting.send(get("/after?token=secret-2"))
        queued(control, 1)
        client.end()
        peer.end()
        with backend.accept() as fresh:
            assert fresh.request().target.startswith("/after")
            fresh.send(answer(b"after"))
            assert waiting.response().body == b"after"

    def test_a_successor_takes_over_but_never_for_one_tab_of_several(self, daemon, backend, spare, connect):
        mine, others = tokens_of("host-0", 2)
        client = connect("two")
        client.send(get(f"/tunnel?token={mine}", *UPGRADE))
        peer = backend.accept()
        peer.request()
        peer.send(AGREED)
        assert client.head().status == 101
        moved = connect("two")
        moved.send(get(f"/moved?token={others}"))
        with spare.accept() as there:
            there.request()
            there.send(answer(b"moved"))
            assert moved.response().body == b"moved"
        entry = daemon.logged(path="/moved")
        assert (entry["backend"], entry["skipped"]) == ("host-1", {"host-0": "full"})
        assert connect("two").ask(get(f"/tab?token={mine}")).status == 503
        assert daemon.logged(path="/tab")["why"] == "lease"


class TestUsers:
    def test_new_connections_of_one_user_come_so_fast(self, daemon, backend, connect, control):
        for _ in range(2):
            client = connect("metered")
            for _ in range(3):  # requests on it are not counted
                served(client, backend, "secret-1")
        refused = connect("metered")
        response = refused.ask(get("/fast?token=secret-1"))
        assert response.status == 429
        assert 50 <= int(response["retry-after"]) <= 60
        assert refused.ended()
        assert daemon.logged(path="/fast")["ended"] == "this user makes too many connections"
        served(connect("metered"), backend, "secret-2")
        assert metric(control, "balancer_requests_refused_total", pool="metered") == 1


def served(client, backend, token):
    client.send(get(f"/?token={token}"))
    peer = backend.peer()
    peer.request()
    peer.send(answer())
    assert client.response().status == 200


class TestRetries:
    def test_what_may_be_repeated_goes_to_the_same_backend_and_then_to_the_next(
        self, daemon, backend, spare, connect, control
    ):
        before = metric(control, "balancer_retries_total", pool="again")
        (token,) = tokens_of("host-0", 1)
        client = connect("again")
        client.send(get(f"/again?token={token}", "Content-Length: 4", method="PUT", body=b"body"))
        for host in (backend, backend, spare):
            with host.accept() as peer:
                assert peer.request().body == b"body"
                if host is spare:
                    peer.send(answer(b"at last"))
        assert client.response().body == b"at last"
        entry = daemon.logged(path="/again")
        assert (entry["tries"], entry["backend"]) == (3, "host-1")
        assert entry["skipped"] == {"host-0": "gave no answer"}
        assert metric(control, "balancer_retries_total", pool="again") == before + 2

    @pytest.mark.parametrize("request_", [{"method": "POST"}, {"method": "PATCH"}])
    def test_what_may_not_is_not_repeated(self, backend, spare, connect, request_):
        (token,) = tokens_of("host-0", 1)
        client = connect("again")
        client.send(get(f"/?token={token}", **request_))
        with backend.accept() as peer:
            peer.request()
        assert client.response().status == 502
        assert backend.untouched()
        assert spare.untouched()

    def test_nor_what_the_client_has_heard_of(self, backend, spare, connect):
        (token,) = tokens_of("host-0", 1)
        client = connect("again")
        client.send(get(f"/?token={token}"))
        with backend.accept() as peer:
            peer.request()
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            assert client.head().status == 103
        assert client.response().status == 502
        assert backend.untouched()
        assert spare.untouched()

    def test_nor_for_a_client_that_has_gone(self, backend, spare, connect):
        (token,) = tokens_of("host-0", 1)
        client = connect("again")
        client.send(get(f"/?token={token}"))
        with backend.accept() as peer:
            peer.request()
            client.reset()
            assert peer.ended()
        assert backend.untouched()
        assert spare.untouched()

    def test_they_are_counted(self, daemon, connect, control):
        response = connect("dead").ask(get("/dead?token=secret-1"))
        assert response.status == 503
        assert daemon.logged(path="/dead")["tries"] == 3
        assert metric(control, "balancer_retries_given_up_total", limit="count", pool="dead") == 1

    def test_none_may_be_had(self, backend, connect, daemon):
        client = connect("never")
        client.send(get("/never?token=secret-1"))
        with backend.accept() as peer:
            peer.request()
        assert client.response().status == 502
        assert daemon.logged(path="/never")["tries"] == 1

    def test_a_kept_connection_that_was_closed_costs_none(self, backend, connect, daemon):
        client = connect("never")
        client.send(get("/first?token=secret-1"))
        with backend.accept() as peer:
            peer.request()
            peer.send(answer())
            assert client.response().status == 200
            client.send(get("/stale?token=secret-1"))
            peer.request()  # and closed instead of answered
        with backend.accept() as peer:
            peer.request()
            peer.send(answer(b"fresh"))
            assert client.response().body == b"fresh"
        assert daemon.logged(path="/stale")["tries"] == 2

    def test_a_dying_pool_is_not_hammered(self, connect, control):
        """Each request may be retried twice; the budget allows its reserve and a fifth, and the clock some more."""
        began = time.monotonic()
        before = metric(control, "balancer_retries_total", pool="dead")
        client = connect("dead")
        for number in range(150):
            assert client.ask(get(f"/?token=secret-{number}")).status == 503
        made = metric(control, "balancer_retries_total", pool="dead") - before
        assert 50 < made <= 100 + 10 * (time.monotonic() - began) + 30 + 1
        assert metric(control, "balancer_retries_given_up_total", limit="budget", pool="dead") > 0
