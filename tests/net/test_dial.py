"""Connecting to backends, the errors of connecting, and connections kept between two requests."""

import os
import resource
import socket

import pytest
import trio
from net_rig import Job, pair, passes, running, settle

from balancer.config.scalars import Address
from balancer.errors import ProxyError, Retry, Source
from balancer.net.dial import MAX_IDLE, IdleConnections, dial
from balancer.net.engine import Closed, Task

# Connecting


async def exchange(engine, listener, address):
    """Connect, say something both ways, close."""

    async def work(task):
        transport = await dial(engine, task, address)
        try:
            assert transport.source is Source.BACKEND
            assert transport.task is task
            await transport.send(b"hello")
            return await transport.recv()
        finally:
            transport.close()

    job = Job(engine, work)
    server, _ = await listener.accept()
    with server:
        assert await server.recv(5) == b"hello"
        await server.send(b"world")
        assert await job.outcome() == b"world"
        assert await server.recv(1) == b""


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_over_tcp(family, host):
    async with running() as engine:
        with trio.socket.socket(family) as listener:
            await listener.bind((host, 0))
            listener.listen()
            await exchange(engine, listener, Address(host, listener.getsockname()[1]))


async def test_over_a_unix_socket(tmp_path):
    async with running() as engine:
        with trio.socket.socket(socket.AF_UNIX) as listener:
            await listener.bind(str(tmp_path / "backend.sock"))
            listener.listen()
            await exchange(engine, listener, Address(path=str(tmp_path / "backend.sock")))


async def test_small_writes_are_not_held_back():
    async with running() as engine:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport = await Job(engine, lambda task: dial(engine, task, Address(*listener.getsockname()))).outcome()
            assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            transport.close()


def refused(caught, reason):
    error = caught.value
    assert (error.source, error.status, error.retry) == (Source.BACKEND, 502, Retry.ALWAYS)
    assert error.reason == f"connect failed: {reason}"


async def test_nobody_listens():
    async with running() as engine:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = Address(*listener.getsockname())
        with pytest.raises(ProxyError) as caught:
            await Job(engine, lambda task: dial(engine, task, address)).outcome()
        refused(caught, "connection refused")
        assert not engine.crashes


async def test_nobody_listens_on_a_unix_socket(tmp_path):
    async with running() as engine:
        path = str(tmp_path / "backend.sock")
        with pytest.raises(ProxyError) as caught:
            await Job(engine, lambda task: dial(engine, task, Address(path=path))).outcome()
        refused(caught, "no such file or directory")
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(path)
        with pytest.raises(ProxyError) as caught:
            await Job(engine, lambda task: dial(engine, task, Address(path=path))).outcome()
        refused(caught, "connection refused")


async def test_the_backlog_of_a_unix_socket_is_full(tmp_path):
    path = str(tmp_path / "backend.sock")
    async with running() as engine:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(0)
            waiting = await Job(engine, lambda task: dial(engine, task, Address(path=path))).outcome()
            with pytest.raises(ProxyError) as caught:
                await Job(engine, lambda task: dial(engine, task, Address(path=path))).outcome()
            refused(caught, "resource temporarily unavailable")
            waiting.close()


@pytest.fixture
def deaf():
    """A listener that answers nobody: its backlog is full, so the kernel drops what knocks."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        knocking = []
        for _ in range(4):
            knocking.append(socket.socket())
            knocking[-1].setblocking(False)
            knocking[-1].connect_ex(listener.getsockname())
        yield Address(*listener.getsockname())
        for sock in knocking:
            sock.close()


def dialling(engine, address):
    async def work(task):
        task.expires = engine.now + 3
        return await dial(engine, task, address)

    return Job(engine, work)


async def test_nobody_answers_in_time(clock, deaf):
    async with running() as engine:
        job = dialling(engine, deaf)
        await passes(clock, 2.9)
        assert not job.ended.is_set()
        await passes(clock, 0.2)
        with pytest.raises(ProxyError, match="connect timed out") as caught:
            await job.outcome()
        assert (caught.value.source, caught.value.status) == (Source.BACKEND, 504)
        assert caught.value.retry is Retry.ALWAYS


async def test_waking_without_cause_does_not_pass_for_a_connection(clock, deaf):
    async with running() as engine:
        job = dialling(engine, deaf)
        for _ in range(3):
            engine.wake(job.task)
            await settle()
        assert not job.ended.is_set()
        engine.throw(job.task, Closed())
        with pytest.raises(Closed):
            await job.outcome()


async def test_without_descriptors_it_is_nobodys_fault():
    async with running() as engine:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            with pytest.raises(ProxyError, match="EMFILE") as caught:
                await Job(engine, lambda task: dial(engine, task, Address("127.0.0.1", 1))).outcome()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (caught.value.source, caught.value.status) == (Source.INTERNAL, 503)
        assert caught.value.retry is Retry.NEVER  # another backend would fare no better


# Kept connections


def closed(peer):
    """Has the other end been closed? With bytes unread that makes a reset."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


class Kept:
    """Idle connections with the sockets at their other ends."""

    def __init__(self, engine, limit=MAX_IDLE):
        self.engine = engine
        self.idle = IdleConnections(limit)
        self.peers = []
        self.me = Task(self.nothing())
        self.me.coro.close()

    async def nothing(self):
        pass

    def put(self, now):
        transport, peer = pair(self.engine, self.me, Source.BACKEND)
        self.peers.append(peer)
        self.idle.put(transport, now)
        return transport

    def close(self):
        self.idle.expire(float("inf"))
        assert len(self.idle) == 0
        for peer in self.peers:
            assert closed(peer)
            peer.close()


def is_open(transport):
    return transport.fd >= 0


async def test_the_latest_used_is_taken_first_and_belongs_to_the_taker():
    async with running() as engine:
        kept = Kept(engine)
        first, second = kept.put(1.0), kept.put(2.0)
        assert first.task is None
        taker = Task(kept.nothing())
        assert kept.idle.take(taker, 0.0) is second
        assert second.task is taker
        assert kept.idle.take(taker, 0.0) is first
        assert kept.idle.take(taker, 0.0) is None
        taker.coro.close()
        for transport in (first, second):
            transport.close()
        kept.close()


async def test_one_that_is_too_old_stays_for_whoever_may_have_it():
    async with running() as engine:
        kept = Kept(engine)
        transport = kept.put(5.0)
        assert kept.idle.take(kept.me, 5.1) is None
        assert len(kept.idle) == 1
        assert kept.idle.take(kept.me, 5.0) is transport
        transport.close()
        kept.close()


@pytest.mark.parametrize("mark", ["closed", "out of turn", "gone"])
async def test_a_marked_connection_is_closed_and_never_handed_out(mark):
    async with running() as engine:
        kept = Kept(engine)
        good = kept.put(1.0)
        bad = kept.put(2.0)
        await settle()
        match mark:
            case "closed":
                kept.peers[1].shutdown(socket.SHUT_WR)
            case "out of turn":
                kept.peers[1].send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            case "gone":
                kept.peers.pop().close()
        await settle()
        assert kept.idle.take(kept.me, 0.0) is good
        assert not is_open(bad)
        assert kept.idle.take(kept.me, 0.0) is None
        good.close()
        kept.close()


async def test_one_with_unread_bytes_is_not_kept():
    async with running() as engine:
        kept = Kept(engine)
        transport, peer = pair(engine, kept.me)
        kept.peers.append(peer)
        peer.send(b"more than the answer")
        await settle()
        kept.idle.put(transport, 1.0)
        assert not is_open(transport)
        assert len(kept.idle) == 0
        kept.close()


async def test_beyond_the_limit_none_is_kept():
    async with running() as engine:
        kept = Kept(engine, limit=2)
        transports = [kept.put(float(now)) for now in range(3)]
        assert [is_open(transport) for transport in transports] == [True, True, False]
        assert len(kept.idle) == 2
        kept.close()


async def test_the_old_and_the_marked_expire():
    async with running() as engine:
        kept = Kept(engine)
        transports = [kept.put(float(now)) for now in range(4)]
        await settle()
        kept.peers[3].shutdown(socket.SHUT_WR)
        await settle()
        kept.idle.expire(2.0)
        assert [is_open(transport) for transport in transports] == [False, False, True, False]
        assert kept.idle.take(kept.me, 0.0) is transports[2]
        transports[2].close()
        kept.close()


async def test_what_is_left_at_the_end_is_closed_with_the_engine():
    async with running() as engine:
        kept = Kept(engine)
        number = kept.put(1.0).fd
        os.fstat(number)
    kept.close()
