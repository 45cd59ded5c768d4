"""Balancers in front of balancers: refusals go to the next region, loops end, and nobody can forge what tiers say.

One daemon plays all tiers, each with a listener of its own.
"""

import socket

import pytest
from harness import listener, pool
from wire import PATIENCE, Peer, answer, free_port, get, nobody, reached

FORGED = ("Balancer-Refused: no-backend", "balancer_Tier: 9", "Balancer-Tier: 9")
WEBSOCKET = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
AGREED = "\r\n".join(
    ["HTTP/1.1 101 Go", *WEBSOCKET[:2], "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "", ""]
).encode()


@pytest.fixture(scope="module")
def fake(hosts):
    """A host, and a region too, that the test plays."""
    return hosts()


@pytest.fixture
def played(fake):
    yield fake
    fake.forget()


@pytest.fixture(scope="module")
def daemon(start, home, fake):
    regions = {name: f"127.0.0.1:{free_port()}" for name in ("empty", "serving", "full", "loop", "behind")}
    front = {"empty": "gone", "serving": "hosts", "full": "full", "loop": "loop", "behind": "hosts"}
    proxy = {name: {"proxy_protocol": "accept"} if name == "behind" else {} for name in regions}
    tiers = {
        "super": [regions["empty"], regions["serving"]],
        "filled": [regions["full"], regions["serving"]],
        "all-gone": [regions["empty"]],
        "loop": [regions["loop"]],
        "played": [fake],
    }
    retries = {"count": 0}, {"count": 1}
    with nobody() as gone:
        yield start(
            listeners=[
                *(
                    listener(name, bind=[bind], pool=front[name], trusted=["127.0.0.0/8"], **proxy[name])
                    for name, bind in regions.items()
                ),
                *(listener(f"to-{name}", pool=name) for name in (*tiers, "gone", "host", "introduced")),
                listener("from-above", pool="played", trusted=["127.0.0.1"]),
            ],
            pool=[
                *(pool(*to, name=name, tier=True, retry=retries[name == "played"]) for name, to in tiers.items()),
                *(pool(gone, name="gone"), pool(home, name="hosts"), pool(fake, name="host")),
                pool(fake, name="full", max_connections=1, queue=0),
                pool(regions["behind"], name="introduced", tier=True, send_proxy="v2"),
            ],
        )


def test_a_region_without_hosts_costs_no_error(daemon, backend):
    tries = set()
    for n in range(12):
        with daemon.connect("to-super") as client:
            client.send(get(f"/post{n}?token=secret-{n}", "Content-Length: 5", method="POST", body=b"hel"))
            peer = backend.peer()
            client.send(b"lo")
            assert peer.request().body == b"hello"
            peer.send(answer(b"served", *FORGED))
            response = client.response()
            assert (response.status, response.body) == (200, b"served")
            assert not response.all("balancer-refused") + response.all("balancer-tier") + response.all("balancer_tier")
        entry = daemon.logged(listener="to-super", path=f"/post{n}")
        tries.add((entry["tries"], "refused: no-backend" in str(entry["skipped"])))
    assert tries == {(1, False), (2, True)}


def test_a_websocket_goes_to_the_next_region(daemon, backend):
    tries = set()
    for n in range(12):
        with daemon.connect("to-super") as client:
            client.send(get(f"/socket{n}?token=secret-{n}", *WEBSOCKET))
            peer = backend.accept()
            peer.head()
            peer.send(AGREED)
            assert client.head().status == 101
        tries.add(daemon.logged(listener="to-super", path=f"/socket{n}", event="open")["tries"])
    assert tries == {1, 2}


def test_a_region_that_is_full_keeps_its_users_and_others_go_on(daemon, backend, played):
    homes = [played, backend]
    for n in range(99):
        client = daemon.connect("to-filled")
        client.send(get(f"/tab?token=secret-{n}", *WEBSOCKET))
        number, peer = reached(homes)
        peer.head()
        peer.send(AGREED)
        assert client.head().status == 101
        if number == 0:
            break  # a user of the region that is full from here on
        client.close()
        peer.close()
    with client, daemon.connect("to-filled") as second:
        assert second.ask(get(f"/second?token=secret-{n}")).status == 503
        assert daemon.logged(listener="to-filled", path="/second")["ended"] == "refused: full"
        tries = set()
        for other in range(100, 112):
            with daemon.connect("to-filled") as third:
                third.send(get(f"/other{other}?token=secret-{other}"))
                peer = backend.peer()
                peer.request()
                peer.send(answer())
                assert third.response().status == 200
            entry = daemon.logged(listener="to-filled", path=f"/other{other}")
            tries.add((entry["tries"], "refused: full" in str(entry["skipped"])))
        assert tries == {(1, False), (2, True)}


def test_all_regions_are_without_hosts(daemon):
    with daemon.connect("to-all-gone") as client:
        response = client.ask(get())
        assert response.status == 503
        assert not response.all("balancer-refused")
    assert daemon.logged(listener="to-all-gone")["ended"] == "refused: no-backend"


@pytest.mark.parametrize(("name", "told"), [("empty", ["no-backend"]), ("to-gone", [])])
def test_a_refusal_is_for_trusted_balancers_only(daemon, name, told):
    with daemon.connect(name) as client:
        assert client.ask(get()).all("balancer-refused") == told


def test_what_hosts_and_clients_forge_changes_nothing(daemon, played):
    with daemon.connect("to-host") as client:
        client.send(get("/?token=secret-1", *FORGED))
        peer = played.peer()
        request = peer.request()
        assert not request.all("balancer-tier") + request.all("balancer-refused") + request.all("balancer_tier")
        peer.send(answer(b"mine", FORGED[0], status="503 Service Unavailable"))
        response = client.response()
        assert (response.status, response.body) == (503, b"mine")
        assert not response.all("balancer-refused")


@pytest.mark.parametrize(("seen_before", "told"), [(False, ["no-backend"]), (True, [])])
def test_nothing_is_refused_of_which_a_host_may_have_seen_a_byte(daemon, played, seen_before, told):
    with daemon.connect("from-above") as client:
        client.send(get("/?token=secret-1"))
        peer = played.accept()
        peer.request()
        if seen_before:
            peer.close()
            peer = played.accept()
            peer.request()
        peer.send(answer(b"", "Balancer-Refused: no-backend", status="503 Service Unavailable"))
        response = client.response()
        assert (response.status, response.all("balancer-refused")) == (503, told)


def test_clients_within_trusted_networks_of_the_region_are_not_believed(daemon, backend):
    claims = "X-Forwarded-For: 9.9.9.9", "X-Request-ID: mine", "X-Forwarded-Proto: https", "Balancer-Tier: 3"
    address = "127.0.0.1", daemon.ports["to-introduced"][0]
    with Peer(socket.create_connection(address, PATIENCE, source_address=("127.0.3.9", 0))) as client:
        client.send(get("/claims?token=secret-1", *claims))
        peer = backend.peer()
        request = peer.request()
        assert request["x-forwarded-for"] == "127.0.3.9, 127.0.0.1"
        assert request["x-forwarded-proto"] == "http"
        peer.send(answer())
        assert client.response().status == 200
    above, below = (daemon.logged(path="/claims", listener=name) for name in ("to-introduced", "behind"))
    assert above["request_id"] == below["request_id"] == request["x-request-id"] != "mine"
    assert above["client"] == below["client"] == "127.0.3.9"


def test_a_loop_ends(daemon):
    with daemon.connect("to-loop") as client:
        assert client.ask(get()).status == 508
