"""How connections end: no answer is lost, no frame is broken into, and nobody who asks something is cut off."""

import pytest
from playbooks import GET, HELLO, OK, SWITCHED, SWITCHING, UPGRADE, WORLD
from proxy_rig import run

from balancer.net.engine import Closed
from balancer.proxy.listener_state import FIRST_REQUEST_TIMEOUT

LAST = GET[:-2] + b"Connection: close\r\n\r\n"
RESTART = b"\x88\x02\x03\xf4"
"""A close frame with code 1012."""
SILENCE, AT_MOST = 2.0, 30.0
"""Seconds of ``LINGER_SILENCE`` and ``MAX_LINGER``."""

# After the last answer


async def last_answer(rig):
    client = await rig.client(LAST)
    await rig.send(rig.hosts["a"].last, OK)
    assert (client.got[-2:], client.end) == (b"ok", "eof")
    return client


def test_a_client_may_go_on_sending_after_the_last_answer():
    async def work(rig):
        client = await last_answer(rig)
        for _ in range(5):
            await rig.passes(SILENCE * 0.9)
            await rig.send(client, bytes(1000))
            assert len(rig.worker.connections) == 1
        await rig.passes(SILENCE * 1.1)
        assert not rig.worker.connections

    run(work)


def test_but_not_for_ever():
    async def work(rig):
        client = await last_answer(rig)
        for _ in range(int(AT_MOST / SILENCE)):
            assert rig.worker.connections
            await rig.passes(SILENCE * 0.9)
            client.send(b"x")
            await rig.settle()
        for _ in range(2):
            await rig.passes(SILENCE * 0.9)
            client.send(b"x")
            await rig.settle()
        assert not rig.worker.connections

    run(work)


def test_a_client_that_closes_has_gone():
    async def work(rig):
        client = await last_answer(rig)
        client.finish()
        await rig.settle()
        assert not rig.worker.connections

    run(work)


# Tunnels that are ended from outside


async def tunnel(rig):
    client = await rig.client(UPGRADE)
    host = rig.hosts["a"].last
    await rig.send(host, SWITCHING)
    assert client.take() == SWITCHED
    host.take()
    return client, host


def masked(data):
    """Whether this is a close frame of a client with code 1012."""
    if len(data) != 8 or data[:2] != b"\x88\x82":
        return False
    return bytes(byte ^ mask for byte, mask in zip(data[6:], data[2:4], strict=True)) == RESTART[2:]


@pytest.mark.parametrize("cut", range(len(WORLD) + 1))
def test_a_client_hears_1012_between_two_frames_only(cut):
    async def work(rig):
        client, host = await tunnel(rig)
        await rig.send(host, WORLD + WORLD[:cut])
        rig.worker.tunnel_registry.end([1], "drained")
        await rig.settle()
        between = cut in (0, len(WORLD))
        assert client.take() == WORLD + WORLD[:cut] + (RESTART if between else b"")
        assert client.end == "eof"
        assert masked(host.take())
        assert rig.log.lines[-1][2] == "drained"

    run(work)


@pytest.mark.parametrize("cut", range(len(HELLO) + 1))
def test_a_backend_hears_1012_between_two_frames_only(cut):
    async def work(rig):
        client, host = await tunnel(rig)
        await rig.send(client, HELLO + HELLO[:cut])
        rig.worker.tunnel_registry.end([1], "drained")
        await rig.settle()
        got = host.take()
        assert got.startswith(HELLO + HELLO[:cut])
        rest = got[len(HELLO) + cut :]
        assert masked(rest) if cut in (0, len(HELLO)) else not rest
        assert client.take() == RESTART

    run(work)


def test_a_side_that_takes_nothing_does_not_hold_up_the_end():
    async def work(rig):
        client, host = await tunnel(rig)
        client.stalled = True
        while host.send(b"\x82\x7e\xff\xff" + bytes(65535)):
            await rig.settle()
        rig.worker.tunnel_registry.end([1], "drained")
        await rig.passes(1.9)
        assert rig.worker.connections
        await rig.passes(0.3)
        await rig.passes(2.2)
        assert not rig.worker.connections

    run(work)


def test_the_user_of_an_evicted_tunnel_holds_no_lease():
    async def work(rig):
        await tunnel(rig)
        assert len(rig.pool.leases) == 1
        rig.worker.tunnel_registry.end([1], "drained")
        assert not len(rig.pool.leases)
        await rig.settle()

    run(work)


def test_the_user_of_a_closed_tunnel_lingers():
    async def work(rig):
        client, host = await tunnel(rig)
        client.close()
        host.finish()
        await rig.settle()
        await rig.passes(29)
        rig.worker.tidy()
        assert len(rig.pool.leases) == 1
        await rig.passes(2)
        rig.worker.tidy()
        assert not len(rig.pool.leases)

    run(work)


# Drains


def test_a_drain_ends_connections_between_requests_and_no_others():
    async def work(rig):
        idle, busy, silent, halfway = [await rig.client() for _ in range(4)]
        await rig.send(idle, GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.send(busy, GET)
        await rig.send(halfway, GET[:9])
        rig.worker.drain_all([rig.listener])
        rig.worker.close_between_requests()
        await rig.settle()
        assert (idle.end, busy.end, silent.end, halfway.end) == ("eof", "", "", "")
        await rig.send(rig.hosts["a"].last, OK)
        assert busy.got == OK[:-4] + b"Connection: close\r\n\r\nok"
        await rig.passes(FIRST_REQUEST_TIMEOUT + 0.2)
        assert (silent.end, halfway.end) == ("eof", "")
        await rig.send(halfway, GET[9:])
        await rig.send(rig.hosts["a"].last, OK)
        assert halfway.got[-2:] == b"ok"
        for client in (busy, halfway):
            client.finish()
        await rig.settle()
        assert rig.worker.empty.is_set()

    run(work)


def test_clients_of_a_version_that_leaves_may_make_one_more_request():
    """Closed at once, they might be sending one at that moment, and would lose it."""

    async def work(rig):
        idle = await rig.client()
        await rig.send(idle, GET)
        await rig.send(rig.hosts["a"].last, OK)
        rig.worker.drain_all([rig.listener])
        await rig.settle()
        assert idle.end == ""
        await rig.send(idle, GET)
        await rig.send(rig.hosts["a"].last, OK)
        assert idle.got.endswith(b"Connection: close\r\n\r\nok")
        assert idle.end == "eof"
        idle.finish()
        await rig.settle()
        assert rig.worker.empty.is_set()

    run(work)


def test_what_is_closed_from_outside_says_why():
    async def work(rig):
        client = await rig.client(GET)
        (session,) = rig.worker.connections
        rig.engine.throw(session.task, Closed("the balancer stops"))
        await rig.settle()
        assert client.end == "eof"
        assert rig.log.lines == [("request", 0, "the balancer stops", "internal", "a", 1)]

    run(work)
