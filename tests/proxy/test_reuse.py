"""Which backend connections are kept, and which kept ones are used again."""

import gc

import pytest
from playbooks import ASKED, GET, INTRODUCED, OK, PROXY, TRUSTED, post, posted
from proxy_rig import run

from balancer.net.dial import FRESH, MAX_IDLE
from balancer.proxy.connect import Connector
from balancer.proxy.exchange import Exchange

IDLE_CLIENTS = 3


def kept(rig):
    return sum(map(len, rig.worker.idle.values()))


@pytest.mark.parametrize("blocked", [False, True])
def test_a_connection_with_unsent_bytes_is_not_kept(blocked):
    """The backend has answered before it read the body, which is still on its way."""
    pieces = fitting = 0

    async def work(rig):
        nonlocal pieces
        client = await rig.client(post(b"Transfer-Encoding: chunked"))
        host = rig.hosts["a"].last
        host.stalled = True
        piece = b"1000\r\n" + bytes(4096) + b"\r\n"
        while pieces < fitting or not fitting:
            await rig.send(client, piece)
            pieces += 1
            if not fitting and any(each.unsent for each in transports(rig)):
                break
        if fitting:
            await rig.send(client, (8 * piece if blocked else b"") + b"0\r\n\r\n")
            assert any(each.unsent for each in transports(rig)) == blocked
            host.send(OK)
            await rig.settle()
            assert client.got == OK
            assert kept(rig) == (not blocked)
            host.stalled = False
            await rig.settle()
            assert host.end == ("eof" if blocked else "")

    run(work)
    fitting, pieces = pieces - 2, 0
    run(work)


def transports(rig):
    return [watch for watch in rig.engine._watches.values() if hasattr(watch, "unsent")]


def test_a_kept_connection_that_spoke_out_of_turn_is_not_used():
    async def work(rig):
        client = await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.send(client, GET)
        assert [peer.end for peer in rig.hosts["a"].connections] == ["reset", ""]
        assert client.got == OK

    run(work)


@pytest.mark.parametrize(("after", "connections"), [(FRESH / 2, 1), (2 * FRESH, 2)])
def test_what_may_not_be_sent_twice_uses_fresh_connections_only(after, connections):
    async def work(rig):
        client = await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.passes(after)
        await rig.send(client, post(b"Content-Length: 0"))
        assert len(rig.hosts["a"].connections) == connections
        assert rig.hosts["a"].last.take().endswith(posted(b"Content-Length: 0"))

    run(work)


def test_what_may_be_sent_twice_uses_old_ones():
    async def work(rig):
        client = await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.passes(20)
        await rig.send(client, GET)
        assert [peer.got for peer in rig.hosts["a"].connections] == [ASKED + ASKED]

    run(work)


def test_only_so_many_are_kept():
    async def work(rig):
        rig.worker.idle[rig.backend("a").connection_key].limit = IDLE_CLIENTS
        for _ in range(IDLE_CLIENTS + 2):
            await rig.client(GET)
        for host in rig.hosts["a"].connections:
            host.send(OK)
        await rig.settle()
        assert kept(rig) == IDLE_CLIENTS < MAX_IDLE

    run(work)


def test_idle_connections_end_with_the_idle_time():
    async def work(rig):
        client = await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.passes(59)
        rig.worker.tidy()
        assert kept(rig) == 1
        await rig.passes(2)
        rig.worker.tidy()
        await rig.settle()
        assert (kept(rig), rig.hosts["a"].last.end, client.end) == (0, "eof", "eof")

    run(work)


def test_connections_that_introduce_a_client_are_its_own():
    async def work(rig):
        first, second = await rig.client(PROXY + GET), await rig.client()
        await rig.send(rig.hosts["a"].last, OK)
        await rig.send(second, PROXY + GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.send(first, GET)
        assert [peer.got for peer in rig.hosts["a"].connections] == [PROXY + INTRODUCED * 2, PROXY + INTRODUCED]
        first.close()
        await rig.settle()
        assert [peer.end for peer in rig.hosts["a"].connections] == ["eof", ""]

    run(work, pool={"send_proxy": "v1"}, listener=TRUSTED)


def test_a_request_leaves_no_cycle_behind():
    """Cycles are found by the garbage collector only, at a cost of 6 % of a small request."""

    async def work(rig):
        def present():
            return [each for each in gc.get_objects() if isinstance(each, Exchange | Connector)]

        gc.collect()
        gc.disable()
        before = present()  # what the tracebacks of other tests still hold
        try:
            client = await rig.client()
            for _ in range(3):
                await rig.send(client, GET)
                await rig.send(rig.hosts["a"].last, OK)
            assert not [each for each in present() if not any(each is other for other in before)]
        finally:
            gc.enable()

    run(work)
