"""Ending tasks from outside: one by one, and all of them when the engine stops."""

import os

import pytest
import trio
from net_rig import Job, drain, pair, parked, passes, running, settle

from balancer.errors import Source
from balancer.net.engine import Closed, TimedOut
from balancer.net.relay import relay


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
        while len(started) < 7:  # on a busy machine the engine gives way after fewer
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
