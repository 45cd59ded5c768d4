"""The relay: what either side says arrives byte for byte, its end included, whatever the order of things."""

import math
import socket
import ssl
from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from net_rig import Job, drain, fill, pair, passes, running, settle, tcp_pair

from balancer.errors import ProxyError, Source
from balancer.net.engine import Closed, TimedOut
from balancer.net.relay import relay
from balancer.net.tls import TlsTransport
from balancer.net.transport import PlainTransport


class Peer:
    """The far end of a transport, driven step by step and never waiting."""

    def __init__(self, sock):
        self.sock = sock
        self.said = b""
        self.heard = bytearray()
        self.outbox = b""
        self.finished = self.shut = self.over = False

    def say(self, data):
        if not self.finished:
            self.said += data
            self.outbox += self.encode(data)

    def finish(self):
        if not self.finished:
            self.finished = True
            self.outbox += self.farewell()

    def push(self):
        with suppress(BlockingIOError):
            while self.outbox:
                self.outbox = self.outbox[self.sock.send(self.outbox) :]
        if self.finished and not self.outbox and not self.shut:
            self.shut = True
            self.sock.shutdown(socket.SHUT_WR)

    def listen(self, most):
        with suppress(BlockingIOError):
            self.decode(self.sock.recv(most))

    def encode(self, data):
        return data

    def farewell(self):
        return b""

    def decode(self, data):
        assert not self.over
        self.heard += data
        self.over = not data


class TlsPeer(Peer):
    """The same in TLS: its ends are close_notify, and an end without one is an error."""

    def __init__(self, sock, context):
        super().__init__(sock)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="ide.example")

    async def handshake(self):
        done = False
        while not done:
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                done = True
            self.sock.send(self.outgoing.read())
            await settle()
            self.incoming.write(drain(self.sock))

    def encode(self, data):
        self.tls.write(data)
        return self.outgoing.read()

    def farewell(self):
        arrived = self.incoming.read()
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        self.incoming.write(arrived)
        return self.outgoing.read()

    def decode(self, data):
        assert data, "an end without close_notify"
        self.incoming.write(data)
        try:
            while piece := self.tls.read(65536):
                self.heard += piece
            self.over = True
        except ssl.SSLZeroReturnError:
            self.over = True
        except ssl.SSLWantReadError:
            pass


SIDES = st.sampled_from(["client", "backend"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), SIDES, st.integers(1, 60_000)),
        st.tuples(st.just("listen"), SIDES, st.integers(1, 60_000)),
        st.tuples(st.just("finish"), SIDES, st.none()),
        st.tuples(st.just("pause"), SIDES, st.none()),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def contexts(context, client_context):
    return context, client_context()


@settings(max_examples=60)
@given(steps=STEPS, tls=st.booleans(), tight=st.booleans())
def test_every_byte_arrives_and_every_end(contexts, steps, tls, tight):
    trio.run(play, contexts if tls else None, steps, tight)


async def play(contexts, steps, tight):
    async with running() as engine:
        client, far_client = pair(engine)
        backend, far_backend = pair(engine, source=Source.BACKEND)
        if tight:
            for sock in (client.sock, far_client, backend.sock, far_backend):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        if contexts:
            client = TlsTransport(client, contexts[0])
            peers = {"client": TlsPeer(far_client, contexts[1]), "backend": Peer(far_backend)}
        else:
            peers = {"client": Peer(far_client), "backend": Peer(far_backend)}

        async def work(task):
            client.task = backend.task = task
            if contexts:
                await client.handshake()
            return await relay(task, client, backend, 60)

        job = Job(engine, work)
        if contexts:
            await peers["client"].handshake()
        for what, side, size in steps:
            match what:
                case "say":
                    number = len(peers[side].said)
                    peers[side].say(bytes((number + i) % 251 for i in range(0, size, 64)) * 64)
                case "finish":
                    peers[side].finish()
                case "listen" if not peers[side].over:
                    peers[side].listen(size)
                case "pause":
                    await settle()
            peers[side].push()
        for peer in peers.values():
            peer.finish()
        while not all(peer.over for peer in peers.values()):
            for peer in peers.values():
                peer.push()
                if not peer.over:
                    peer.listen(1 << 20)
            await settle()
        assert await job.outcome() in (Source.CLIENT, Source.BACKEND)
        assert peers["client"].heard == peers["backend"].said
        assert peers["backend"].heard == peers["client"].said
        for each in (client, backend, far_client, far_backend):
            each.close()


class Tunnel:
    """A relay between two plain transports, with the raw sockets at its ends."""

    def __init__(self, engine, idle=60, send_timeout=math.inf):
        self.client, self.far_client = pair(engine)
        self.backend, self.far_backend = pair(engine, source=Source.BACKEND)

        async def work(task):
            self.client.task = self.backend.task = task
            return await relay(task, self.client, self.backend, idle, send_timeout=send_timeout)

        self.job = Job(engine, work)

    def close(self):
        for each in (self.client, self.backend, self.far_client, self.far_backend):
            each.close()


@pytest.mark.parametrize("first", [Source.CLIENT, Source.BACKEND])
async def test_an_end_is_passed_on_and_the_other_direction_lives(first):
    async with running() as engine:
        tunnel = Tunnel(engine)
        early, late = tunnel.far_client, tunnel.far_backend
        if first is Source.BACKEND:
            early, late = late, early
        early.send(b"last words")
        early.shutdown(socket.SHUT_WR)
        await settle()
        assert late.recv(100) == b"last words"
        assert late.recv(100) == b""
        for _ in range(3):
            late.send(b"still here")
            await settle()
            assert early.recv(100) == b"still here"
        assert not tunnel.job.ended.is_set()
        late.shutdown(socket.SHUT_WR)
        assert await tunnel.job.outcome() is first
        assert early.recv(100) == b""
        tunnel.close()


async def test_a_peer_that_does_not_read_stops_the_other_side():
    async with running() as engine:
        tunnel = Tunnel(engine)
        sent = 0
        while more := fill(tunnel.far_client):
            sent += more
            await settle()
        assert tunnel.backend.unsent is not None
        held = len(tunnel.backend.unsent)
        assert held <= tunnel.client.size  # one read at most is kept by us, the rest by the kernel
        tunnel.far_backend.send(b"the other direction is free")
        await settle()
        assert drain(tunnel.far_client) == b"the other direction is free"
        tunnel.far_client.shutdown(socket.SHUT_WR)
        got = 0
        while piece := drain(tunnel.far_backend):
            got += len(piece)
            await settle()
        assert got == sent
        assert tunnel.far_backend.recv(1) == b""
        tunnel.far_backend.shutdown(socket.SHUT_WR)
        assert await tunnel.job.outcome() is Source.CLIENT
        tunnel.close()


async def test_silence_ends_it_and_every_byte_puts_that_off(clock):
    async with running() as engine:
        tunnel = Tunnel(engine, idle=10)
        for far in (tunnel.far_client, tunnel.far_backend) * 2:
            await passes(clock, 9)
            far.send(b".")
        await passes(clock, 9.5)
        assert not tunnel.job.ended.is_set()
        await passes(clock, 1)
        with pytest.raises(TimedOut):
            await tunnel.job.outcome()
        tunnel.close()


async def test_one_that_does_not_read_is_silent_too(clock):
    async with running() as engine:
        tunnel = Tunnel(engine, idle=10)
        while fill(tunnel.far_client):
            await settle()
        await passes(clock, 10.2)
        with pytest.raises(TimedOut):
            await tunnel.job.outcome()
        tunnel.close()


async def test_one_that_takes_nothing_is_cut_whatever_it_says(clock):
    async with running() as engine:
        tunnel = Tunnel(engine, idle=100, send_timeout=10)
        while fill(tunnel.far_client):
            await settle()
        for _ in range(3):
            await passes(clock, 3)
            tunnel.far_backend.send(b"hello")
            await settle()
            assert tunnel.far_client.recv(5) == b"hello"
        assert not tunnel.job.ended.is_set()
        await passes(clock, 1.2)
        with pytest.raises(ProxyError, match="the backend stopped reading") as caught:
            await tunnel.job.outcome()
        assert caught.value.source is Source.BACKEND
        tunnel.close()


async def test_one_that_takes_a_little_now_and_then_may_stay(clock):
    async with running() as engine:
        tunnel = Tunnel(engine, idle=1000, send_timeout=10)
        while fill(tunnel.far_client):
            await settle()
        for _ in range(4):
            await passes(clock, 9)
            assert tunnel.far_backend.recv(40_000)
        assert not tunnel.job.ended.is_set()
        for _ in range(2):
            await passes(clock, 10.5)
        with pytest.raises(ProxyError, match="stopped reading"):
            await tunnel.job.outcome()
        tunnel.close()


async def test_a_full_socket_does_not_cost_the_client_its_close_notify(contexts):
    """Fill the client's socket to the last record it takes; then the backend ends, and so the relay."""

    async def tunnel(engine):
        near, far_client = pair(engine)
        client, peer = TlsTransport(near, contexts[0]), TlsPeer(far_client, contexts[1])
        backend, far_backend = pair(engine, source=Source.BACKEND)

        async def work(task):
            client.task = backend.task = task
            await client.handshake()
            try:
                return await relay(task, client, backend, 60)
            finally:
                client.close()
                backend.close()

        job = Job(engine, work)
        await peer.handshake()
        return client, peer, far_backend, job

    async def byte(far_backend):
        far_backend.send(b"x")
        await settle()

    async with running() as engine:
        client, peer, far_backend, job = await tunnel(engine)
        fits = -1
        while client.unsent is None:
            await byte(far_backend)
            fits += 1
        engine.throw(job.task, Closed())
        peer.sock.close()
        far_backend.close()

        client, peer, far_backend, job = await tunnel(engine)
        peer.finish()
        peer.push()
        for _ in range(fits):
            await byte(far_backend)
        assert client.unsent is None
        far_backend.shutdown(socket.SHUT_WR)
        await settle()
        while not peer.over:
            peer.listen(1 << 20)  # asserts that close_notify comes before the end
            await settle()
        assert peer.heard == b"x" * fits
        assert await job.outcome() is Source.CLIENT
        peer.sock.close()
        far_backend.close()


@pytest.mark.parametrize("broken", [Source.CLIENT, Source.BACKEND])
@pytest.mark.parametrize("already_ended", [False, True])
async def test_a_side_that_breaks_is_named_and_the_other_is_not_told_it_was_an_end(broken, already_ended):
    async with running() as engine:
        client, far_client = tcp_transport(engine, Source.CLIENT)
        backend, far_backend = tcp_transport(engine, Source.BACKEND)

        async def work(task):
            client.task = backend.task = task
            await relay(task, client, backend, 60)

        job = Job(engine, work)
        bad, good = (far_client, far_backend) if broken is Source.CLIENT else (far_backend, far_client)
        if already_ended:
            good.shutdown(socket.SHUT_WR)
            await settle()
        bad.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        bad.close()
        with pytest.raises(ProxyError) as caught:
            await job.outcome()
        assert caught.value.source is broken
        with pytest.raises(ConnectionResetError):
            good.recv(1)
        good.close()


def tcp_transport(engine, source):
    near, far = tcp_pair()
    return PlainTransport(engine, near, source, None), far


async def test_closed_from_outside_while_it_waits():
    async with running() as engine:
        tunnel = Tunnel(engine)
        await settle()
        engine.throw(tunnel.job.task, Closed("the drain is over"))
        with pytest.raises(Closed, match="the drain is over"):
            await tunnel.job.outcome()
        tunnel.close()
