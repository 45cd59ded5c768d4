"""Transports as streams: trio's conformance checks, backpressure, half-close, resets, repeated closing."""

import socket
from contextlib import contextmanager

import pytest
import trio
from net_rig import Job, drain, pair, running, settle, tcp_pair
from tls_line import BOTH
from trio.testing import check_half_closeable_stream, check_two_way_stream

from balancer.errors import ProxyError, Retry, Source
from balancer.net.engine import Closed
from balancer.net.park import PARK
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport

# trio's checks


class Stream(trio.abc.HalfCloseableStream):
    """A transport as a trio stream: a coroutine of the engine wakes the trio tasks that wait for readiness."""

    def __init__(self, transport):
        self.transport = transport
        self.waiting = trio.lowlevel.ParkingLot()
        self.buffer = b""
        self.over = False
        self.sending = self.receiving = False
        transport.task = transport.engine.spawn(self.ring())

    async def ring(self):
        try:
            while True:
                await PARK
                self.waiting.unpark_all()
        finally:
            self.waiting.unpark_all()

    @contextmanager
    def turn(self, which):
        if getattr(self, which):
            raise trio.BusyResourceError(which)
        setattr(self, which, True)
        try:
            yield
            if self.transport.fd < 0:
                raise trio.ClosedResourceError
        except ProxyError as error:
            if self.transport.fd < 0:
                raise trio.ClosedResourceError from error
            raise trio.BrokenResourceError from error
        finally:
            setattr(self, which, False)

    async def until_sent(self):
        while self.transport.fd >= 0 and not self.transport.flush():
            await self.waiting.park()

    async def send_all(self, data):
        with self.turn("sending"):
            await trio.lowlevel.checkpoint()
            await self.until_sent()
            if self.transport.finished or self.transport.fd < 0:
                raise trio.ClosedResourceError
            self.transport.transmit(bytes(data))
            await self.until_sent()

    async def wait_send_all_might_not_block(self):
        with self.turn("sending"):
            await trio.lowlevel.checkpoint()
            await self.until_sent()

    async def send_eof(self):
        with self.turn("sending"):
            await trio.lowlevel.checkpoint()
            self.transport.send_eof()
            await self.until_sent()

    async def receive_some(self, max_bytes=None):
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be positive")
        if max_bytes is not None and not isinstance(max_bytes, int):
            raise TypeError("max_bytes must be an integer")
        with self.turn("receiving"):
            await trio.lowlevel.checkpoint()
            while not self.buffer and not self.over and self.transport.fd >= 0:
                if self.transport.pending():
                    data = self.transport.receive()
                    self.over = data == b""
                    self.buffer = data or b""
                else:
                    await self.waiting.park()
            given, self.buffer = self.buffer[:max_bytes], self.buffer[max_bytes or len(self.buffer) :]
            return given

    async def aclose(self):
        if self.transport.fd >= 0:
            task = self.transport.task
            self.transport.close()
            self.transport.engine.throw(task, Closed())
        await trio.lowlevel.checkpoint()


def clog(stream):
    """Fill it until it keeps bytes of its own."""
    while stream.transport.transmit(bytes(65536)):
        pass


async def test_trio_finds_a_plain_transport_a_proper_stream():
    async with running() as engine:

        async def make():
            return tuple(Stream(PlainTransport(engine, sock, Source.CLIENT, None)) for sock in tcp_pair())

        async def make_clogged():
            streams = await make()
            for stream in streams:
                clog(stream)
            return streams

        await check_half_closeable_stream(make, make_clogged)
        assert not engine.tasks


@BOTH
async def test_trio_finds_a_tls_transport_a_proper_stream(context, client_context, version):
    async with running() as engine:

        async def make():
            ours, theirs = tcp_pair()
            tls = TlsTransport(PlainTransport(engine, ours, Source.CLIENT, None), context)

            async def shake(task):
                tls.task = task
                await tls.handshake()

            job = Job(engine, shake)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
            client = trio.SSLStream(stream, client_context(version), server_hostname="ide.example")
            await client.do_handshake()
            await job.outcome()
            return Stream(tls), client

        await check_two_way_stream(make, None)
        assert not engine.tasks


# What trio does not ask


async def test_what_the_kernel_does_not_take_is_kept_and_flushed():
    async with running() as engine:
        ours, peer = pair(engine)
        data = bytes(range(256)) * 8192
        assert not ours.transmit(data)
        assert ours.unsent is not None
        assert not ours.flush()  # still no room
        got = bytearray()
        job = Job(engine, lambda task: ours.flushed())
        ours.task = job.task
        while not job.ended.is_set():
            got += drain(peer)
            await settle()
        got += drain(peer)
        assert bytes(got) == data
        assert ours.unsent is None
        assert ours.sent == len(data)
        ours.close()
        peer.close()


async def test_bytes_are_counted():
    async with running() as engine:
        ours, peer = pair(engine)
        peer.send(b"12345")
        job = Job(engine, lambda task: ours.recv())
        ours.task = job.task
        await job.outcome()
        ours.transmit(b"123")
        assert (ours.received, ours.sent) == (5, 3)
        ours.close()
        peer.close()


async def test_after_our_end_of_stream_reading_goes_on():
    async with running() as engine:
        ours, peer = pair(engine)
        ours.transmit(b"all I have")
        ours.send_eof()
        ours.send_eof()
        assert peer.recv(100) == b"all I have"
        assert peer.recv(100) == b""
        peer.send(b"thanks")
        job = Job(engine, lambda task: ours.recv())
        ours.task = job.task
        assert await job.outcome() == b"thanks"
        ours.close()
        peer.close()


@pytest.mark.parametrize("source", [Source.CLIENT, Source.BACKEND])
@pytest.mark.parametrize("doing", ["recv", "send"])
async def test_a_reset_is_an_error_of_that_side(source, doing):
    async with running() as engine:
        near, far = tcp_pair()
        ours = PlainTransport(engine, near, source, None)
        job = Job(engine, lambda task: ours.recv() if doing == "recv" else ours.send(bytes(1 << 25)))
        ours.task = job.task
        await settle()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        far.close()
        with pytest.raises(ProxyError) as caught:
            await job.outcome()
        error = caught.value
        assert error.source is source
        assert error.status == (400 if source is Source.CLIENT else 502)
        assert error.retry is Retry.UNANSWERED
        assert error.reason.startswith(f"the {source} connection broke (E")
        ours.close()


async def test_an_abort_is_a_reset_even_with_bytes_on_the_way():
    async with running() as engine:
        near, far = tcp_pair()
        ours = PlainTransport(engine, near, Source.CLIENT, None)
        ours.transmit(b"half an ans")
        ours.abort()
        ours.abort()
        with pytest.raises(ConnectionResetError):
            drain(far)
        far.close()


async def test_closing_is_for_good_and_may_be_repeated():
    async with running() as engine:
        ours, peer = pair(engine)
        number = ours.fd
        ours.close()
        other, other_peer = pair(engine)
        assert other.fd == number  # its number lives on in another
        ours.close()
        ours.abort()
        other_peer.send(b"alive")
        job = Job(engine, lambda task: other.recv())
        other.task = job.task
        assert await job.outcome() == b"alive"
        assert peer.recv(1) == b""
        for each in (other, other_peer, peer):
            each.close()
