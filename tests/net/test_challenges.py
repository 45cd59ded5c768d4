"""Challenges on a disk that hangs: a bounded number waits for it, and the worker goes on."""

import threading

import pytest
from net_rig import Job, running, settle

from balancer.errors import ProxyError
from balancer.proxy import challenge
from balancer.proxy.challenge import Challenges


async def test_a_disk_that_hangs(monkeypatch):
    disk = threading.Event()
    monkeypatch.setattr(challenge, "read_challenge", lambda folder, name: name if disk.wait(60) else None)
    async with running() as engine:
        challenges = Challenges(engine)
        jobs = [Job(engine, lambda task: challenges.read(task, "/", b"name")) for _ in range(70)]
        await settle()
        refused = [job for job in jobs if job.ended.is_set()]
        assert len(refused) == 6
        for job in refused:
            with pytest.raises(ProxyError, match="too many challenges"):
                await job.outcome()
        disk.set()
        for job in jobs:
            await job.ended.wait()
        assert [job.result for job in jobs if job not in refused] == [b"name"] * 64
