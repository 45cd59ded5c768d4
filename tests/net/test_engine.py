"""Deadlines, closing from outside, fairness, readiness and crashes of the engine."""

import logging
import math
import os
import socket
from itertools import pairwise

import pytest
import trio
from net_rig import Job, drain, fill, flood, pair, parked, passes, running, settle

from balancer.errors import Source
from balancer.net.engine import BATCH, SWEEP_INTERVAL, Closed, Engine, TimedOut, park
from balancer.net.relay import relay
from balancer.net.transport import MAX_READ_SIZE, TURN_BYTES, PlainTransport

# Deadlines


async def test_a_deadline_passes_within_one_sweep(clock):
    async with running() as engine:

        async def work(task):
            task.expires = engine.now + 5
            await parked()

        job = Job(engine, work)
        await passes(clock, 4.99)
        assert not job.ended.is_set()
        await passes(clock, 0.01 + SWEEP_INTERVAL)
        assert isinstance(job.error, TimedOut)
        assert job.task not in engine.tasks


async def test_a_deadline_holds_in_the_middle_of_a_read_and_of_a_write(clock):
    async with running() as engine:

        async def read(task):
            task.expires = engine.now + 1
            await ours.recv()

        async def write(task):
            task.expires = engine.now + 1
            await ours.send(bytes(1 << 24))

        for work in (read, write):
            ours, peer = pair(engine)
            job = Job(engine, work)
            ours.task = job.task
            await passes(clock, 1.2)
            assert isinstance(job.error, TimedOut)
            ours.close()
            peer.close()


async def test_a_deadline_can_be_moved_by_its_owner_at_any_time(clock):
    async with running() as engine:
        job = Job(engine, lambda task: parked())
        job.task.expires = engine.now + 1
        await passes(clock, 0.9)
        job.task.expires = engine.now + 10
        await passes(clock, 9.9)
        assert not job.ended.is_set()
        job.task.expires = engine.now
        await passes(clock, SWEEP_INTERVAL)
        assert isinstance(job.error, TimedOut)


async def test_without_a_deadline_a_task_sleeps_for_ever(clock):
    async with running() as engine:
        job = Job(engine, lambda task: parked())
        assert job.task.expires == math.inf
        await passes(clock, 1e9)
        assert not job.ended.is_set()


async def test_a_task_may_catch_its_deadline_and_go_on(clock):
    async with running() as engine:
        timeouts = []

        async def work(task):
            for _ in range(3):
                task.expires = engine.now + 1
                try:
                    await parked()
                except TimedOut:
                    timeouts.append(engine.now)
                    assert task.expires == math.inf  # no second TimedOut follows unless asked for
            await parked()

        job = Job(engine, work)
        for _ in range(3):
            await passes(clock, 1.1)
        assert len(timeouts) == 3
        await passes(clock, 1000)
        assert len(timeouts) == 3
        assert not job.ended.is_set()


async def test_a_deadline_moved_by_the_first_that_expired_is_respected(clock):
    """Two deadlines pass in one sweep; whoever comes first gives the other more time."""
    async with running() as engine:
        jobs = []

        async def work(task):
            task.expires = engine.now + 1
            try:
                await parked()
            except TimedOut:
                for job in jobs:
                    job.task.expires = math.inf
                raise

        jobs += [Job(engine, work), Job(engine, work)]
        await passes(clock, 2)
        assert [type(job.error) for job in jobs].count(TimedOut) == 1


# Closing from outside


async def test_a_thrown_error_arrives_at_once_where_the_task_waits():
    async with running() as engine:
        job = Job(engine, lambda task: parked())
        engine.throw(job.task, Closed("the process stops"))
        assert isinstance(job.error, Closed)
        assert str(job.error) == "the process stops"
        assert not engine.tasks


@pytest.mark.parametrize("where", ["recv", "send", "give_way", "relay"])
async def test_closed_at_every_await_point_runs_the_cleanup(where):
    async with running() as engine:
        ours, peer = pair(engine)
        other, other_peer = pair(engine, source=Source.BACKEND)

        async def work(task):
            ours.task = other.task = task
            try:
                match where:
                    case "recv":
                        await ours.recv()
                    case "send":
                        await ours.send(bytes(1 << 24))
                    case "give_way":
                        while True:
                            await engine.give_way()
                    case "relay":
                        await relay(task, ours, other, 60)
            finally:
                ours.close()
                other.close()

        job = Job(engine, work)
        await trio.lowlevel.checkpoint()
        engine.throw(job.task, Closed())
        assert isinstance(job.error, Closed)
        drain(peer)
        assert peer.recv(1) == b"" == other_peer.recv(1)
        peer.close()
        other_peer.close()


async def test_throwing_at_a_finished_task_is_harmless():
    async with running() as engine:

        async def work(task):
            return "done"

        job = Job(engine, work)
        engine.throw(job.task, Closed())
        engine.wake(job.task)
        await settle()
        assert await job.outcome() == "done"
        assert engine.crashes == 0


async def test_a_task_closed_before_its_first_step_still_cleans_up():
    """The coroutine owns a transport from its first line on; an exception before that line would orphan it."""
    async with running() as engine:
        peers = []

        async def child(ours):
            try:
                await ours.recv()
            finally:
                ours.close()

        async def parent(task):
            ours, peer = pair(engine)
            peers.append(peer)
            started = engine.spawn(child(ours))
            engine.throw(started, Closed())

        await Job(engine, parent).outcome()
        await settle()
        assert not engine.tasks
        assert peers[0].recv(1) == b""
        peers[0].close()


async def test_a_deadline_does_not_overwrite_a_close(clock):
    """A task that survives its deadlines must not survive being closed in the same moment."""
    async with running() as engine:

        async def survivor(task):
            while True:
                task.expires = engine.now + 1
                try:
                    await parked()
                except TimedOut:
                    continue

        async def closer(task):
            engine.throw(job.task, Closed())
            engine.throw(job.task, TimedOut())

        job = Job(engine, survivor)
        await Job(engine, closer).outcome()
        await settle()
        assert isinstance(job.error, Closed)


async def test_a_stopping_engine_closes_every_coroutine_and_descriptor(caplog):
    before = set(os.listdir("/proc/self/fd"))
    peers, ends = [], []
    async with running() as engine:

        async def holder(number, ours):
            ours.task = engine.current
            try:
                if number == 2:
                    await ours.send(bytes(1 << 24))
                while True:
                    await ours.recv()
            finally:
                ends.append(number)
                if number == 3:
                    raise RuntimeError("a cleanup that fails")
                ours.close()

        async def parent():
            while True:  # so that the end finds one whose coroutine has not taken its first step
                started.append(len(peers))
                ours, peer = pair(engine)
                peers.append(peer)
                engine.spawn(holder(started[-1], ours))
                await engine.give_way()

        started = []
        _, idle_peer = pair(engine)  # one that no task owns, such as an idle connection
        engine.spawn(parent())
        await trio.lowlevel.checkpoint()
    assert set(range(5)) < set(ends) < set(started)
    for peer in [*peers, idle_peer]:
        drain(peer)
        assert peer.recv(1) == b""
        peer.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert not engine.tasks
    assert [record.getMessage() for record in caplog.records] == ["a connection crashed; the others go on"]


async def test_closing_a_transport_after_the_engine_has_stopped_is_harmless():
    async with running() as engine:
        ours, peer = pair(engine)
    ours.close()
    assert peer.recv(1) == b""
    peer.close()


async def test_what_a_step_from_outside_makes_ready_is_stepped_though_no_socket_speaks(clock):
    async with running() as engine:

        async def child():
            await engine.give_way()
            stepped.set()

        async def parent(task):
            task.expires = engine.now + 1
            try:
                await parked()
            except TimedOut:
                engine.spawn(child())

        stepped = trio.Event()
        Job(engine, parent)
        await passes(clock, 2)
        assert stepped.is_set()


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
                await park()
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


# Errors


async def test_a_crash_is_logged_once_counted_and_the_engine_lives_on(caplog):
    async with running() as engine:
        ours, peer = pair(engine)

        async def crash(transport):
            transport.task = engine.current
            try:
                await transport.recv()
                raise RuntimeError("a bug")
            finally:
                transport.close()

        async def echo(task):
            quiet.task = task
            await quiet.send(await quiet.recv())

        quiet, quiet_peer = pair(engine)
        job = Job(engine, echo)
        engine.spawn(crash(ours))
        await settle()
        peer.send(b"x")
        quiet_peer.send(b"still here")
        await job.outcome()
        assert quiet_peer.recv(100) == b"still here"
        assert peer.recv(1) == b""
        assert engine.crashes == 1
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.name == "balancer.engine"
        assert "in crash" in caplog.text
        assert "RuntimeError: a bug" in caplog.text
        for each in (quiet, quiet_peer, peer):
            each.close()


async def test_timeouts_and_closes_are_no_crashes(caplog):
    async with running() as engine:
        for error in (TimedOut(), Closed()):
            task = engine.spawn(parked())
            engine.throw(task, error)
        assert engine.crashes == 0
        assert not caplog.records
        assert not engine.tasks


async def test_the_epoll_set_is_closed_with_the_engine():
    def epolls():
        links = []
        for number in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{number}"))
            except FileNotFoundError:  # the listing's own descriptor
                continue
        return links.count("anon_inode:[eventpoll]")

    before = epolls()
    async with running() as engine:
        assert isinstance(engine, Engine)
        assert epolls() == before + 1
    assert epolls() == before


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
