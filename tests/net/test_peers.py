"""Peers that acknowledge nothing of what they were sent are found out, and nobody else is."""

import socket

import pytest
from net_rig import Job, parked, passes, running, settle, tcp_pair

from balancer.errors import ProxyError, Source
from balancer.net.peers import PROBES, PeerWatch, probe_when_silent
from balancer.net.send_progress import acknowledged
from balancer.net.transport import PlainTransport


async def seconds(clock, count):
    for _ in range(round(count * 10)):
        await passes(clock, 0.1)


async def stuck(transport):
    """Send until the peer's window is full, and the rest waits in our kernel: nothing is ``unsent``."""
    while acknowledged(transport) == transport.sent:
        assert transport.transmit(bytes(16384))
        await settle()


@pytest.mark.parametrize(("source", "status"), [(Source.CLIENT, 499), (Source.BACKEND, 504)])
async def test_one_that_acknowledges_nothing(clock, source, status):
    async with running() as engine:
        PeerWatch(engine, 5.0)
        ours, peer = tcp_pair()
        with peer:
            job = Job(engine, lambda _: parked())
            transport = PlainTransport(engine, ours, source, job.task)
            await stuck(transport)
            await seconds(clock, 4.5)
            assert not job.ended.is_set()
            await seconds(clock, 2)
            with pytest.raises(ProxyError, match="acknowledged nothing") as caught:
                await job.outcome()
            assert (caught.value.source, caught.value.status) == (source, status)
            transport.close()


async def test_one_that_reads_now_and_then(clock):
    async with running() as engine:
        PeerWatch(engine, 5.0)
        ours, peer = tcp_pair()
        with peer:
            job = Job(engine, lambda _: parked())
            transport = PlainTransport(engine, ours, Source.CLIENT, job.task)
            for _ in range(4):
                await stuck(transport)
                await seconds(clock, 4)
                before = acknowledged(transport)
                while acknowledged(transport) == before:
                    peer.recv(1 << 20)
            assert not job.ended.is_set()
            transport.close()


async def test_one_that_was_sent_nothing(clock, monkeypatch):
    """An idle connection is not even looked at: thousands of them cost nothing."""
    async with running() as engine:
        watch = PeerWatch(engine, 5.0)
        ours, peer = tcp_pair()
        with peer:
            job = Job(engine, lambda _: parked())
            transport = PlainTransport(engine, ours, Source.CLIENT, job.task)
            transport.transmit(b"hello")
            await seconds(clock, 1)
            monkeypatch.setattr(watch, "_check", lambda *_: pytest.fail("it was looked at"))
            await seconds(clock, 60)
            assert not job.ended.is_set()
            transport.close()


@pytest.mark.parametrize(("wanted", "idle", "interval"), [(60.0, 60, 10), (5.0, 5, 1), (0.2, 1, 1), (1e6, 32767, 5461)])
def test_silence_is_probed(wanted, idle, interval):
    ours, peer = tcp_pair()
    with ours, peer:
        probe_when_silent(ours, wanted)
        options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
        assert [ours.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [idle, interval, PROBES]
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), "one lost probe would be the end"
