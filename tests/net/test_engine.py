"""Deadlines and crashes of the engine's tasks."""

import logging
import math
import os

from net_rig import Job, pair, parked, passes, running, settle

from balancer.net.engine import SWEEP_INTERVAL, Closed, Engine, TimedOut

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
