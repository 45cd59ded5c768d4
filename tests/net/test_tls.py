"""TLS against Python's own client: bytes, records, handshakes, tickets."""

import ssl
from contextlib import suppress

import pytest
import trio
from certificate_files import serving
from net_rig import drain, passes, running, settle
from tls_line import BOTH, V12, V13, Line

from balancer.errors import ProxyError, Source
from balancer.net.engine import Closed, TimedOut


@BOTH
async def test_bytes_both_ways(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        assert line.tls.version == {V12: "TLSv1.2", V13: "TLSv1.3"}[version]
        assert line.tls.server_name == "ide.example"
        assert not line.tls.resumed
        await line.client.send(b"hello")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"hello"
        await line.ours(lambda tls: tls.send(b"world")).outcome()
        assert await line.client.recv() == b"world"
        line.close()


@BOTH
@pytest.mark.parametrize("size", [1, 7, 16384, 16385, 3_000_000])
async def test_records_of_every_size_both_ways_at_once(context, client_context, version, size):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        count = 2 if size > 100_000 else 200 if size < 100 else 20
        data = (bytes(range(251)) * (size // 251 + 1))[:size]

        async def echo(tls):
            total = b""
            while piece := await tls.recv():
                await tls.send(piece)
                total += piece
            tls.send_eof()
            return total

        async def write():
            for _ in range(count):
                await line.client.send(data)
            await line.client.send_eof()

        job = line.ours(echo)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await line.client.rest() == data * count
        assert await job.outcome() == data * count
        line.close()


# Handshakes


@BOTH
async def test_a_handshake_in_single_bytes(context, client_context, version):
    async with running() as engine:
        line = Line(engine, context, client_context(version), piece=1)
        await line.establish()
        line.close()


@BOTH
@pytest.mark.parametrize("count", [1, 5, 100, 10_000])
async def test_bytes_read_before_the_handshake_are_fed_in(context, client_context, version, count):
    """As after a PROXY header: the beginning of the ClientHello, or all of it, was read with the header."""
    async with running() as engine:
        line = Line(engine, context, client_context(version))
        with pytest.raises(ssl.SSLWantReadError):
            line.client.tls.do_handshake()
        hello = line.client.outgoing.read()
        job = line.accept(early=hello[:count])
        await settle()
        line.client.sock.send(hello[count:])
        await line.client.handshake()
        await job.outcome()
        await line.client.send(b"x")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"x"
        line.close()


async def test_what_was_noticed_before_the_handover_is_not_forgotten(context, client_context):
    """The kernel speaks only once: here of the whole ClientHello, while the plain transport still has the socket."""
    async with running() as engine:
        line = Line(engine, context, client_context(V13))
        with pytest.raises(ssl.SSLWantReadError):
            line.client.tls.do_handshake()
        line.client.sock.send(line.client.outgoing.read())
        await settle()
        assert line.plain.readable
        await line.establish()
        line.close()


async def test_data_that_comes_with_the_end_of_the_handshake(context, client_context):
    async with running() as engine:
        line = Line(engine, context, client_context(V13))
        job = line.accept()
        with suppress(ssl.SSLWantReadError):
            line.client.tls.do_handshake()
        line.client.sock.send(line.client.outgoing.read())
        await settle()
        line.client.incoming.write(drain(line.client.sock))
        line.client.tls.do_handshake()
        line.client.tls.write(b"in one packet with Finished")
        line.client.sock.send(line.client.outgoing.read())
        await job.outcome()
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"in one packet with Finished"
        line.close()


@pytest.mark.parametrize(
    ("garbage", "reason", "alert"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "TLS failed: http request", False),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "TLS failed: length ", True),
        (b"\x16\x03\x01\xff\xff" + bytes(64), "TLS failed: ", True),
        (bytes(64), "TLS failed: wrong version number", False),
    ],
    ids=["http", "short hello", "huge record", "zeros"],
)
async def test_garbage_ends_the_handshake_with_an_alert_if_it_looks_like_tls(
    context, client_context, garbage, reason, alert
):
    async with running() as engine:
        line = Line(engine, context, client_context(V13))
        job = line.accept()
        line.client.sock.send(garbage)
        with pytest.raises(ProxyError) as caught:
            await job.outcome()
        assert caught.value.source is Source.CLIENT
        assert caught.value.status == 400
        assert caught.value.reason.startswith(reason)
        answer = drain(line.client.sock)
        assert (len(answer) == 7 and answer.startswith(b"\x15\x03")) if alert else answer == b""
        line.client.sock.close()


async def test_a_version_we_do_not_speak_is_answered_with_an_alert(certificate, client_context):
    async with running() as engine:
        line = Line(engine, serving(certificate, min_version="1.3"), client_context(V12))
        job = line.accept()
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await line.client.handshake()
        with pytest.raises(ProxyError, match="TLS failed: unsupported protocol"):
            await job.outcome()
        line.client.sock.close()


@BOTH
async def test_a_client_that_leaves_in_the_handshake(context, client_context, version):
    async with running() as engine:
        line = Line(engine, context, client_context(version))
        job = line.accept()
        with pytest.raises(ssl.SSLWantReadError):
            line.client.tls.do_handshake()
        line.client.sock.send(line.client.outgoing.read())
        await settle()
        line.client.sock.close()
        with pytest.raises(ProxyError) as caught:
            await job.outcome()
        assert caught.value.source is Source.CLIENT


async def test_a_handshake_can_time_out_and_be_closed(context, client_context, clock):
    async with running() as engine:
        late, closed = (Line(engine, context, client_context(V13)) for _ in range(2))
        jobs = late.accept(expires=trio.current_time() + 10), closed.accept()
        await passes(clock, 10.2)
        engine.throw(jobs[1].task, Closed())
        for job, error in zip(jobs, (TimedOut, Closed), strict=True):
            with pytest.raises(error):
                await job.outcome()
        for line in (late, closed):
            drain(line.client.sock)
            assert line.client.sock.recv(1) == b""
            line.client.sock.close()


async def test_tickets_leave_with_our_first_data_and_not_before(context, client_context):
    async with running() as engine:
        line = await Line(engine, context, client_context(V13)).establish()
        await line.client.send(b"question")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"question"
        await settle()
        with pytest.raises(BlockingIOError):
            line.client.sock.recv(1)
        await line.ours(lambda tls: tls.send(b"answer")).outcome()
        assert len(drain(line.client.sock)) > 200  # two tickets and a record
        line.close()


@BOTH
async def test_a_ticket_resumes_the_session(context, client_context, version):
    async with running() as engine:
        same = client_context(version)
        line = await Line(engine, context, same).establish()
        await line.ours(lambda tls: tls.send(b"x")).outcome()
        assert await line.client.recv() == b"x"
        ticket = line.client.tls.session
        line.close()
        line = await Line(engine, context, same, session=ticket).establish()
        assert line.tls.resumed
        assert line.client.tls.session_reused
        await line.client.send(b"x")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"x"
        line.close()
