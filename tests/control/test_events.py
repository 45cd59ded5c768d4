"""The event stream: the list behind it, and what a client of the running daemon gets."""

import json
import socket

import pytest
import trio
import trio.testing
from admin_rig import NAMES, AdminDaemon
from hypothesis import given
from hypothesis import strategies as st
from wire import CRLF, PATIENCE, Peer, get

from balancer.control.events import BATCH, HEARTBEAT, KEPT, EventReader, Events


def parsed(stream):
    """Events of a stream: kind, id and data of each block."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in stream.split("\n\n") if block]
    return [(each["event"], each.get("id"), json.loads(each["data"])) for each in blocks if "event" in each]


def events(number):
    made = Events(lambda: 1_700_000_000.0)
    for n in range(1, number + 1):
        made.emit("pin", f"the {n}th", n=n)
    return made


@given(st.integers(0, 3 * BATCH), st.integers(0, 2000))
def test_everybody_gets_everything_once_and_in_order(seen, more):
    found = events(seen)
    place = found.newest(KEPT)
    for n in range(seen + 1, seen + more + 1):
        found.emit("pin", "", n=n)
    got, missed = [], 0
    while (step := found.behind(place))[1]:
        missed += step[0]
        got += [event.number for event in step[1]]
        place = got[-1]
    assert missed == max(0, seen + more - KEPT)
    assert got == list(range(missed + 1, seen + more + 1))


async def test_a_slow_reader_is_told_what_it_missed():
    found = events(0)
    follower = EventReader(found, found.newest(0))
    assert b"retry:" in await follower.piece()
    for n in range(KEPT + 5):
        found.emit("pin", "", n=n)
    (gap, *first) = parsed((await follower.piece()).decode())
    assert gap == ("gap", None, {"kind": "gap", "text": "5 events are missing here", "lost": 5})
    assert [data["n"] for _, _, data in first] == list(range(5, 5 + BATCH))


async def test_who_comes_back_goes_on_where_they_were():
    found = events(5)
    follower = EventReader(found, found.place_of(found.id_of(3)))
    await follower.piece()
    assert [data["n"] for _, _, data in parsed((await follower.piece()).decode())] == [4, 5]


@pytest.mark.parametrize("last_id", ["", "x", "1-2", "18bcfe56800-6", "18bcfe56800--1", "18bcfe56800-1\n", "0-0-0"])
async def test_who_comes_back_from_elsewhere_is_told(last_id):
    found = events(5)
    assert found.id_of(1) == "18bcfe56800-1"
    place = found.place_of(last_id)
    assert place is None
    follower = EventReader(found, place)
    ((kind, _, data),) = parsed((await follower.piece()).decode())
    assert (kind, data["lost"]) == ("gap", None)
    assert len(parsed((await follower.piece()).decode())) == 5


async def test_a_silent_stream_lives(autojump_clock):
    follower = EventReader(events(1), 1)
    await follower.piece()
    began = trio.current_time()
    assert await follower.piece() == b": still here\n\n"
    assert trio.current_time() - began == HEARTBEAT


async def test_everybody_who_waits_is_woken(autojump_clock):
    found = events(1)
    got = []

    async def follow():
        follower = EventReader(found, 1)
        await follower.piece()
        got.append(parsed((await follower.piece()).decode()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        found.emit("ring", "another", n=2)
    assert got == [[("ring", found.id_of(2), got[0][0][2])]] * 2


class Follow:
    """A client of the daemon's stream: what it has been told so far."""

    def __init__(self, daemon, query="", *fields):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(daemon.socket)
        self.peer = Peer(sock)
        self.peer.send(get(f"/v1/events{query}", *fields))
        self.head = self.peer.head()
        self._text = ""

    def wait_for(self, kind, **wanted):
        """The first event of this kind with these facts."""
        while True:
            for event, id_, data in parsed(self._text.rpartition("\n\n")[0]):
                if event == kind and all(data.get(key) == value for key, value in wanted.items()):
                    return id_, data
            size = int(self.peer.until(CRLF), 16)
            self._text += self.peer.exactly(size + 2)[:-2].decode()


@pytest.fixture
def follow(daemon):
    opened = []

    def start(*args):
        opened.append(Follow(daemon, *args))
        return opened[-1]

    yield start
    for each in opened:
        each.peer.close()


def test_what_operators_do(daemon, follow):
    stream = follow()
    assert stream.head["content-type"] == "text/event-stream"
    assert daemon.ask("POST", "./pins", {"token": "secret-1", "backend": "ide-02", "reason": "disk"}).status == 201
    _, pin = stream.wait_for("pin", backend="ide-02")
    assert pin["text"].startswith(f"pin digest:{pin['digest']} to ide-02 (disk), by uid ")
    assert pin["seq"] == daemon.get("./journal")["entries"][-1]["seq"]
    daemon.ask("DELETE", f"./pins/{pin['digest']}")
    stream.wait_for("unpin", digest=pin["digest"])
    before = daemon.get("/v1/pools/ide")["fingerprint"]
    daemon.ask("PUT", "./backends/ide-03/weight", {"weight": 2})
    stream.wait_for("weight", weight=2)
    _, ring = stream.wait_for("ring", before=before)
    assert ring["after"] == daemon.get("/v1/pools/ide")["fingerprint"]
    daemon.ask("PUT", "./backends/ide-01/state", {"state": "drain"})
    stream.wait_for("state", backend="ide-01", state="drain")
    stream.wait_for("drained", backend="ide-01")
    assert "secret" not in stream._text
    daemon.reset()


def test_the_newest_few_first_and_going_on_after_an_id(daemon, follow):
    stream = follow("?last=1000")
    first, listener = stream.wait_for("listener")
    assert listener["text"].startswith("listener web accepts on 127.0.0.1:")
    daemon.ask("PUT", "./backends/ide-01/weight", {"weight": 3})
    id_, _ = stream.wait_for("weight", weight=3)
    daemon.ask("PUT", "./backends/ide-01/weight", {"weight": 4})
    stream.wait_for("weight", weight=4)
    again = follow("", f"Last-Event-ID: {id_}")
    again.wait_for("weight", weight=4)
    assert [data["weight"] for kind, _, data in parsed(again._text) if kind == "weight"] == [4]
    lost = follow("", "Last-Event-ID: 12-7")
    assert lost.wait_for("gap")[1]["lost"] is None
    assert lost.wait_for("listener")[0] == first
    assert daemon.ask("GET", "/v1/events?last=x").status == 400
    assert daemon.ask("HEAD", "/v1/events").status == 200
    daemon.reset()


def test_one_stream_too_many(daemon):
    """There is still room for those who only ask, and a stream that is left makes room for another."""
    streams = [Follow(daemon) for _ in range(32)]
    try:
        assert {each.head.status for each in streams} == {200}
        refused = daemon.ask("GET", "/v1/events")
        assert (refused.status, refused.error) == (503, "too many clients have a stream open")
        streams[0].peer.end()
        streams[0].peer.rest()
        again = Follow(daemon)
        streams.append(again)
        assert again.head.status == 200
    finally:
        for each in streams:
            each.peer.close()


def test_health(tmp_path):
    """A backend that refuses connections is down by the first probe; the events of the start can be looked back at."""
    with AdminDaemon(tmp_path, pool_keys={"health": {"type": "tcp", "interval": "100ms"}}) as daemon:
        stream = Follow(daemon, "?last=100")
        for name in NAMES:
            _, health = stream.wait_for("health", backend=name)
            assert (health["state"], health["down"], health["pool"]) == ("down", True, "ide")
            assert "unknown -> down" in health["text"]
        stream.peer.close()
