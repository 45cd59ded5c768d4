"""Requests that wait for a place at a backend that is full: the first comes first."""

from playbooks import OK, error
from proxy_rig import run

from balancer.config.settings import BackendSettings

ONE = {"pool": {"max_connections": 1, "queue_timeout": 2.0}}
FULL = error(503, b"the backend is full", keep=True)


def get(number):
    return b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number


def asked(rig, name="a"):
    """The numbers of the requests that a backend got, in the order in which they came."""
    pieces = b"".join(peer.got for peer in rig.hosts[name].connections).split(b"GET /")[1:]
    return [int(piece.split()[0]) for piece in pieces]


async def answer(rig):
    await rig.send(rig.hosts["a"].last, OK)


def test_the_first_comes_first():
    async def work(rig):
        clients = [await rig.client(get(number)) for number in range(4)]
        for done in range(4):
            assert asked(rig) == list(range(done + 1))
            await answer(rig)
        assert [client.got for client in clients] == [OK] * 4

    run(work, **ONE)


def test_newcomers_wait_behind_the_others():
    async def work(rig):
        first = await rig.client(get(0))
        await rig.client(get(1))
        rig.hosts["a"].last.send(OK)
        first.send(get(2))  # asks again in the moment in which its place becomes free
        await rig.settle()
        assert asked(rig) == [0, 1]
        await answer(rig)
        assert asked(rig) == [0, 1, 2]

    run(work, **ONE)


def test_nobody_waits_for_ever():
    async def work(rig):
        await rig.client(get(0))
        first = await rig.client(get(1))
        await rig.passes(1.5)
        second = await rig.client(get(2))
        await rig.passes(0.6)
        assert (first.got, second.got) == (FULL, b"")
        await rig.passes(1.5)
        assert second.got == FULL
        assert rig.backend("a").full == 2

    run(work, **ONE)


def test_one_that_leaves_makes_room_for_the_next():
    async def work(rig):
        await rig.client(get(0))
        first, second = await rig.client(get(1)), await rig.client(get(2))
        first.close()
        await rig.passes(0.2)
        assert rig.log.lines == [("request", 499, "the client left while it waited for its backend", "client", "", 0)]
        await answer(rig)
        assert asked(rig) == [0, 2]
        await answer(rig)
        assert second.got == OK

    run(work, **ONE)


def test_a_place_that_another_worker_leaves_is_found():
    """Workers cannot wake each other: the first who waits looks again with each look at the deadlines."""

    async def work(rig):
        await rig.client(get(0))
        await rig.client(get(1))
        backend = rig.backend("a")
        backend.active -= 1
        backend.load.active.put(backend.active)
        await rig.settle()
        assert asked(rig) == [0]
        await rig.passes(0.2)
        assert asked(rig) == [0, 1]
        backend.active += 1

    run(work, **ONE)


def test_the_queue_has_a_limit():
    async def work(rig):
        clients = [await rig.client(get(number)) for number in range(4)]
        assert [client.got for client in clients] == [b"", b"", b"", FULL]

    run(work, pool={**ONE["pool"], "queue": 2})


def test_the_limit_of_a_backend_goes_before_that_of_its_pool():
    async def work(rig):
        for number in range(3):
            await rig.client(get(number))
        assert asked(rig) == [0, 1]

    run(work, pool={**ONE["pool"], "backend": (BackendSettings("a", 2), BackendSettings("b"))})


def test_the_successor_instead():
    """A request without a token has no user whose other tabs are elsewhere."""

    async def work(rig):
        await rig.client(get(0))
        await rig.client(get(1))
        await rig.passes(2.1)
        assert (asked(rig), asked(rig, "b")) == ([0], [1])

    run(work, pool={**ONE["pool"], "when_full": "successor"})


def test_a_connection_keeps_no_place_between_two_requests():
    async def work(rig):
        await rig.client(get(0))
        await answer(rig)
        second = await rig.client(get(1))
        assert asked(rig) == [0, 1]
        await answer(rig)
        assert second.got == OK

    run(work, **ONE)
