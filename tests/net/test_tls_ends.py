"""How a TLS connection ends: close_notify either way, without it, in a full socket, by an abort, by a forgery."""

import socket
import ssl

import pytest
from net_rig import running, settle
from tls_line import BOTH, V12, Line, unix_pair

from balancer.errors import ProxyError, Source


@BOTH
@pytest.mark.parametrize("waiting", [0, 1, 16384, 100_000])
async def test_our_close_notify_loses_nothing_that_is_still_coming(context, client_context, version, waiting):
    """``waiting`` bytes have arrived, or are on their way, when SSL_shutdown looks for the peer's answer."""
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        await line.client.send(b"first")
        assert await line.ours(lambda tls: tls.recv()).outcome() == b"first"
        if waiting:
            await line.client.send(bytes(waiting))
            await settle()
            begun = await line.ours(lambda tls: tls.recv()).outcome()  # what comes after it waits inside
        else:
            begun = b""
        line.tls.send_eof()
        assert await line.client.recv() == b""
        job = line.everything()
        for _ in range(5):
            await line.client.send(bytes(30_000))
        await line.client.send_eof()
        assert len(begun + await job.outcome()) == waiting + 150_000
        line.close()


@BOTH
async def test_the_peers_close_notify_ends_one_direction_only(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        await line.client.send(b"question")
        await line.client.send_eof()
        assert await line.everything().outcome() == b"question"
        await line.ours(lambda tls: tls.send(bytes(1_000))).outcome()
        line.tls.send_eof()
        assert await line.client.rest() == bytes(1_000)
        assert line.client.sock.recv(1) == b""
        line.close()


@BOTH
async def test_a_peer_that_ends_without_close_notify_can_still_be_answered(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        await line.client.send(b"question")
        line.client.sock.shutdown(socket.SHUT_WR)
        assert await line.everything().outcome() == b"question"
        assert await line.everything().outcome() == b""  # the end stays the end
        await line.ours(lambda tls: tls.send(b"answer")).outcome()
        line.tls.send_eof()
        assert await line.client.rest() == b"answer"
        line.close()


@BOTH
async def test_closing_says_so_and_may_be_repeated(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        line.tls.close()
        line.tls.close()
        assert await line.client.recv() == b""  # close_notify: no SSLEOFError
        line.close()


@BOTH
async def test_an_abort_does_not_pass_for_an_end(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        line.tls.abort()
        line.tls.abort()
        with pytest.raises(ConnectionResetError):
            await line.client.recv()
        line.close()


async def test_close_notify_waits_for_room_in_a_full_socket(context, client_context):
    """A Unix socket takes a certain number of records; the one after the last that fits is the close_notify."""
    async with running() as engine:
        line = await Line(engine, context, client_context(V12), unix_pair).establish()
        fits = 0
        while line.tls.transmit(b"x"):
            fits += 1
        line.tls.abort()
        line.close()
        line = await Line(engine, context, client_context(V12), unix_pair).establish()
        for _ in range(fits):
            assert line.tls.transmit(b"x")
        line.tls.send_eof()
        job = line.ours(lambda tls: tls.flushed())
        await settle()
        assert not job.ended.is_set()
        assert await line.client.rest() == b"x" * fits  # and then close_notify, no SSLEOFError
        await job.outcome()
        assert line.client.sock.recv(1) == b""
        line.close()


@BOTH
async def test_a_forged_record_is_an_error_of_the_client_and_answered_with_an_alert(context, client_context, version):
    async with running() as engine:
        line = await Line(engine, context, client_context(version)).establish()
        line.client.sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ProxyError, match="TLS failed: decryption failed or bad record mac") as caught:
            await line.ours(lambda tls: tls.recv()).outcome()
        assert caught.value.source is Source.CLIENT
        line.tls.close()
        with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
            await line.client.recv()
        line.close()
