"""How long a client may take: for a request head, for a body, and to read an answer."""

import pytest
from playbooks import GET, OK, SWITCHING, UPGRADE, error, post
from proxy_rig import run

from balancer.proxy import duplex

HEAD = {"timeouts": {"head": 10.0, "idle": 60.0}}
LATE = error(408, b"the request head took too long")

# Request heads


def test_the_head_deadline_starts_with_the_first_byte():
    async def work(rig):
        client = await rig.client()
        await rig.passes(59)
        await rig.send(client, GET[:1])
        await rig.passes(9)
        assert not client.end
        await rig.passes(2)
        assert client.got == LATE

    run(work, **HEAD)


def test_bytes_of_a_head_buy_no_time():
    async def work(rig):
        client = await rig.client()
        for byte in GET[:3]:
            await rig.send(client, bytes([byte]))
            await rig.passes(4)
        assert client.got == LATE

    run(work, **HEAD)


@pytest.mark.parametrize("line", [b"\r\n", b"\n", b"\r\n\r\n", b"\r\n\r"])
def test_blank_lines_buy_no_time(line):
    async def work(rig):
        client = await rig.client()
        for _ in range(3):
            await rig.send(client, line)
            await rig.passes(4)
        assert client.end

    run(work, **HEAD)


def test_blank_lines_before_a_head_count():
    async def work(rig):
        client = await rig.client(b"\r\n")
        await rig.passes(6)
        await rig.send(client, GET[:5])
        await rig.passes(5)
        assert client.got == LATE

    run(work, **HEAD)


def test_the_deadline_of_a_pipelined_head_starts_with_its_turn():
    async def work(rig):
        client = await rig.client(GET + GET[:5])
        await rig.passes(20)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.passes(9)
        assert client.got == OK
        await rig.passes(2)
        assert client.got == OK + LATE

    run(work, **HEAD)


def test_between_requests_is_another_time_than_before_the_first():
    async def work(rig):
        fresh, kept = await rig.client(), await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.passes(4)
        assert not kept.end
        await rig.passes(2)
        assert (kept.got, kept.end) == (OK, "eof")
        assert not fresh.end

    run(work, timeouts={"idle": 60.0, "keep_alive": 5.0})


def test_a_silent_client_has_the_idle_time():
    async def work(rig):
        client = await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        await rig.passes(59)
        assert not client.end
        await rig.passes(2)
        assert (client.got, client.end) == (OK, "eof")

    run(work, **HEAD)


# Request bodies: ``limits.min_rate`` over ``timeouts.idle``


@pytest.mark.parametrize(("piece", "fast_enough"), [(400, False), (600, True)])
def test_a_slow_body(piece, fast_enough):
    async def work(rig):
        client = await rig.client(post(b"Content-Length: 100000"))
        for _ in range(12):
            await rig.send(client, bytes(piece))
            await rig.passes(4)
        if fast_enough:
            assert not client.got
        else:
            assert client.got == error(408, b"the request body comes too slowly, or not at all")

    run(work, timeouts={"idle": 10.0}, limits={"min_rate": 100})


def test_any_progress_is_enough_without_a_rate():
    async def work(rig):
        client = await rig.client(post(b"Content-Length: 100000"))
        for _ in range(4):
            await rig.send(client, b"x")
            await rig.passes(9)
        assert not client.got
        await rig.passes(20)
        assert client.got == error(408, b"the request body comes too slowly, or not at all")

    run(work, timeouts={"idle": 10.0}, limits={"min_rate": 0})


def test_time_in_which_the_backend_does_not_read_is_not_the_clients():
    async def work(rig):
        host = rig.hosts["a"]
        client = await rig.client(post(b"Content-Length: 10000000"))
        host.last.stalled = True
        sent = 0
        while done := client.send(bytes(65536)):
            sent += done
            await rig.settle()
        for _ in range(5):
            host.last.read(16384)
            await rig.passes(9)
            host.last.read(1 << 20)
            await rig.settle()
            while client.send(bytes(65536)):
                await rig.settle()
        assert not client.got, "it is as fast as it may be"
        await rig.passes(21)
        await rig.passes(1)
        assert client.got.startswith(error(504, b"the backend stopped reading the request")[:20])

    run(work, timeouts={"idle": 10.0}, limits={"min_rate": 100})


# Answers: ``limits.min_rate`` over ``timeouts.send``

LENGTH = 4 << 20
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LENGTH
SLOW = ("request", 200, "the client reads too slowly, or not at all", "client", "a", 1)


async def download(rig):
    """A client that has stalled, and a backend that has sent it as much as both take."""
    client = await rig.client(GET)
    client.stalled = True
    host = rig.hosts["a"].last
    host.send(LONG)
    await rig.settle()
    while host.send(bytes(65536)):
        await rig.settle()
    return client


def test_a_client_that_does_not_read():
    async def work(rig):
        await download(rig)
        await rig.passes(29)
        assert not rig.log.lines
        await rig.passes(2)
        assert rig.log.lines == [SLOW]

    run(work, timeouts={"send": 30.0}, limits={"min_rate": 0})


@pytest.mark.pure
@pytest.mark.parametrize(("rate", "fast_enough"), [(0, True), (30, True), (40, False)])
def test_a_client_that_reads_slowly(rate, fast_enough, monkeypatch):
    """It acknowledges 1,000 bytes within each 30 seconds."""

    async def work(rig):
        started = rig.engine.now
        rate_of_client = 1000 / 30
        monkeypatch.setattr(duplex, "acknowledged", lambda _: round((rig.engine.now - started) * rate_of_client))
        await download(rig)
        for _ in range(4):
            await rig.passes(30.1)
        assert rig.log.lines == ([] if fast_enough else [SLOW])

    run(work, timeouts={"send": 30.0}, limits={"min_rate": rate})


def test_a_tunnel_ends_when_one_side_takes_nothing():
    async def work(rig):
        client = await rig.client(UPGRADE)
        host = rig.hosts["a"].last
        await rig.send(host, SWITCHING)
        client.stalled = True
        while host.send(bytes(65536)):
            await rig.settle()
        await rig.passes(16)
        client.send(b"\x8a\x80\0\0\0\0")  # what it says does not count
        await rig.passes(15)
        assert rig.log.lines[-1][1:4] == (101, "the client stopped reading", "client")

    run(work, timeouts={"send": 30.0})
