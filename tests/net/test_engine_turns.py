"""Whose turn it is: fairness between tasks, and readiness that is spurious, stale or used up."""

import socket
from itertools import pairwise

import pytest
import trio
from net_rig import Job, drain, fill, flood, pair, parked, running, settle

from balancer.errors import Source
from balancer.net.engine import BATCH, Closed
from balancer.net.park import PARK
from balancer.net.relay import relay
from balancer.net.transport import MAX_READ_SIZE, TURN_BYTES, PlainTransport

# Fairness


class Spring(PlainTransport):
    """A transport whose peer always has more to say, in reads of at most ``most`` bytes: it never runs dry."""

    __slots__ = ("most", "peer", "reads")

    def __init__(self, engine, most):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.most = most
        self.reads = 0
        super().__init__(engine, ours, Source.CLIENT, None)
        fill(self.peer)

    def receive(self):
        fill(self.peer)
        self.size = self.most
        self.reads += 1
        return super().receive()

    def close(self):
        super().close()
        self.peer.close()


class Drop(PlainTransport):
    """A transport whose peer always reads on."""

    __slots__ = ("peer",)

    def __init__(self, engine):
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        super().__init__(engine, ours, Source.BACKEND, None)

    def transmit(self, data):
        drain(self.peer)
        return super().transmit(data)

    def close(self):
        super().close()
        self.peer.close()


@pytest.mark.parametrize("most", [65536, 1])
async def test_a_relay_that_never_blocks_gives_way(most):
    """Between two turns of a quiet connection the bulk one moves 256 KiB and one read, or does 16 operations."""
    async with running() as engine:
        spring, drop = Spring(engine, most), Drop(engine)
        seen = []

        async def bulk(task):
            spring.task = drop.task = task
            await relay(task, spring, drop, 60)

        async def quiet(task):
            for _ in range(20):
                await engine.give_way()  # ready in every batch, as a connection with a byte in every batch is
                seen.append((spring.received, spring.reads))
            engine.throw(running_bulk.task, Closed())

        running_bulk = Job(engine, bulk)
        await Job(engine, quiet).outcome()
        await running_bulk.ended.wait()
        moved = [after[0] - before[0] for before, after in pairwise(seen)]
        reads = [after[1] - before[1] for before, after in pairwise(seen)]
        assert min(moved) > 0
        assert max(moved) <= TURN_BYTES + MAX_READ_SIZE
        assert max(reads) <= 16
        spring.close()
        drop.close()


async def test_a_reader_that_never_blocks_gives_way():
    async with running() as engine:
        spring = Spring(engine, 1024)
        seen = []

        async def bulk(task):
            spring.task = task
            while True:
                await spring.recv()

        async def quiet(task):
            for _ in range(20):
                await engine.give_way()
                seen.append(spring.reads)
            engine.throw(job.task, Closed())

        job = Job(engine, bulk)
        await Job(engine, quiet).outcome()
        await job.ended.wait()
        assert all(0 < after - before <= 16 for before, after in pairwise(seen))
        spring.close()


async def test_trio_has_its_turn_beside_tasks_that_never_sleep():
    async with running() as engine:

        async def work(task):
            while True:
                await engine.give_way()

        job = Job(engine, work)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        engine.throw(job.task, Closed())
        assert isinstance(job.error, Closed)


async def test_more_events_than_one_batch_holds_are_all_served():
    async with running() as engine:
        peers, served = [], []

        async def echo(number, ours):
            ours.task = engine.current
            await ours.send(await ours.recv())
            served.append(number)
            ours.close()

        count = BATCH + 50
        for number in range(count):
            ours, peer = pair(engine)
            peers.append(peer)
            engine.spawn(echo(number, ours))
        await settle()
        for peer in peers:
            peer.send(b"x")
        await settle()
        assert sorted(served) == list(range(count))
        for peer in peers:
            assert peer.recv(2) == b"x"
            peer.close()


# Readiness


async def test_a_reused_descriptor_number_is_not_woken_by_its_predecessors_event():
    """In one batch: ``first`` closes the socket of ``second``, which has an event, and opens one with its number."""
    async with running() as engine:
        wakes, opened = [], []

        async def first(task):
            trigger.task = task
            await trigger.recv()
            number = old.fd
            old.close()
            new, new_peer = pair(engine)
            assert new.fd == number
            opened.append((new, new_peer))
            new.task = engine.spawn(reader(new))

        async def second(task):
            old.task = task
            await parked()

        async def reader(new):
            while not new.pending():
                await PARK
                wakes.append((new.readable, new.hung_up))
            opened.append(await new.recv())

        trigger, trigger_peer = pair(engine)
        old, old_peer = pair(engine)
        a, b = Job(engine, first), Job(engine, second)
        await settle()
        trigger_peer.send(b"go")
        old_peer.send(b"stale")  # both events are in the next batch
        await settle()
        new, new_peer = opened[0]
        assert (True, False) not in wakes
        assert not new.readable
        new_peer.send(b"fresh")
        await settle()
        assert opened[1] == b"fresh"
        engine.throw(b.task, Closed())
        await a.outcome()
        for transport, peer in ((trigger, trigger_peer), (old, old_peer), (new, new_peer)):
            transport.close()
            peer.close()


async def test_readiness_that_somebody_else_has_used_up_is_only_a_hint():
    async with running() as engine:
        ours, peer = pair(engine)
        job = Job(engine, lambda task: ours.recv())
        ours.task = job.task
        await settle()
        ours.readable = True  # an edge that is old: there is nothing to read
        engine.wake(job.task)
        await settle()
        assert not job.ended.is_set()
        assert not ours.readable
        peer.send(b"now")
        assert await job.outcome() == b"now"
        ours.close()
        peer.close()


async def test_waking_without_cause_is_harmless():
    async with running() as engine:
        ours, peer = pair(engine)
        other, other_peer = pair(engine, source=Source.BACKEND)
        jobs = [
            Job(engine, lambda task: ours.recv()),
            Job(engine, lambda task: other.send(bytes(1 << 22))),
        ]
        ours.task, other.task = (job.task for job in jobs)
        for _ in range(5):
            for job in jobs:
                engine.wake(job.task)
                engine.wake(job.task)
            await settle()
        assert not any(job.ended.is_set() for job in jobs)
        peer.send(b"x")
        got = 0
        while not jobs[1].ended.is_set():
            got += len(drain(other_peer))
            await settle()
        assert await jobs[0].outcome() == b"x"
        assert got + len(drain(other_peer)) == 1 << 22
        for each in (ours, other, peer, other_peer):
            each.close()


async def test_a_short_read_and_an_end_of_stream_in_one_event_lose_neither():
    async with running() as engine:
        ours, peer = pair(engine)
        peer.send(b"last words")
        peer.close()
        job = Job(engine, lambda task: ours.recv())
        ours.task = job.task
        assert await job.outcome() == b"last words"
        for _ in range(2):  # the end stays the end
            job = Job(engine, lambda task: ours.recv())
            ours.task = job.task
            assert await job.outcome() == b""
        ours.close()


async def test_flooded_bytes_arrive_whole_and_in_order():
    """Reads grow while they come back full; nothing is lost on the way up or down."""
    async with running() as engine:
        ours, peer = pair(engine)
        sent = flood(peer, bytes(range(256)) * 64)
        peer.shutdown(socket.SHUT_WR)
        got = bytearray()

        async def work(task):
            ours.task = task
            while data := await ours.recv():
                got.extend(data)

        await Job(engine, work).outcome()
        assert len(got) == sent
        assert got == (bytes(range(256)) * (sent // 256 + 1))[:sent]
        ours.close()
        peer.close()
