"""Balancers in front of balancers: refusals go to the next region, loops end, and nobody can forge what tiers say.

One daemon plays all tiers, each with a listener of its own.
"""

import pytest
from harness import listener, pool
from wire import answer, free_port, get, nobody

FORGED = ("Balancer-Refused: no-backend", "balancer_Tier: 9", "Balancer-Tier: 9")
WEBSOCKET = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
NO_RETRIES = {"count": 0}


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
    regions = {name: f"127.0.0.1:{free_port()}" for name in ("empty", "serving", "loop")}
    front = {"empty": "gone", "serving": "hosts", "loop": "loop"}
    tiers = {"super": [regions["empty"], regions["serving"]], "all-gone": [regions["empty"]], "loop": [regions["loop"]]}
    tiers["played"] = [fake]
    with nobody() as gone:
        yield start(
            listeners=[
                *(listener(name, bind=[regions[name]], pool=front[name], trusted=["127.0.0.1"]) for name in regions),
                *(
                    listener(f"to-{name}", pool=name)
                    for name in ("super", "all-gone", "loop", "played", "gone", "host")
                ),
            ],
            pool=[
                *(pool(*addresses, name=name, tier=True, retry=NO_RETRIES) for name, addresses in tiers.items()),
                *(pool(gone, name="gone"), pool(home, name="hosts"), pool(fake, name="host")),
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
            accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            peer.send("\r\n".join(["HTTP/1.1 101 Go", *WEBSOCKET[:2], accept, "", ""]).encode())
            assert client.head().status == 101
        tries.add(daemon.logged(listener="to-super", path=f"/socket{n}", event="open")["tries"])
    assert tries == {1, 2}


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


def test_a_loop_ends(daemon):
    with daemon.connect("to-loop") as client:
        assert client.ask(get()).status == 508
