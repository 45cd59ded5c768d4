"""What the kernel or a fault of ours can do to the data plane, and what it leaves: nothing."""

import errno
import os

import pytest
from playbooks import GET, OK, error
from proxy_rig import run

from balancer.net.engine import Engine


class Full(Engine):
    """An engine whose epoll set takes no more descriptors after ``room`` of them (epoll_ctl(2): ENOSPC, ENOMEM)."""

    room = 10**6

    def watch(self, watch):
        if watch.fd not in self._watches and len(self._watches) >= self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().watch(watch)


def test_a_client_that_cannot_be_watched(caplog):
    engine = Full()

    async def work(rig):
        engine.room = 2  # the engine's own and the listener
        client = await rig.client(GET)
        assert client.end
        rig.crashes = 1
        engine.room = 10
        second = await rig.client(GET)
        await rig.send(rig.hosts["a"].last, OK)
        assert second.got == OK

    run(work, engine=engine)
    assert "No space left" in caplog.text


def test_a_backend_that_cannot_be_watched():
    """No descriptor is left open: the rig looks for it."""
    engine = Full()

    async def work(rig):
        client = await rig.client()
        engine.room = 3
        await rig.send(client, GET)
        assert client.got == error(503, b"cannot open a socket (ENOSPC)", keep=True)
        assert all(peer.end == "eof" for peer in rig.hosts["a"].connections)
        engine.room = 10
        await rig.send(client, GET)
        await rig.send(rig.hosts["a"].last, OK)
        assert client.got.endswith(OK)

    run(work, engine=engine)


@pytest.mark.pure
@pytest.mark.parametrize("broken", ["admission.check_memory", "admission.report", "pool.leases.expire", "idle"])
def test_one_broken_part_of_the_housekeeping(broken, caplog):
    """It is logged and counted, and the others are done."""
    done = []

    def fails(*_):
        raise RuntimeError("a fault of ours")

    class Broken:
        def expire(self, before):
            fails()

    async def work(rig):
        worker = rig.worker
        parts = {
            "admission.check_memory": (worker.admission, "check_memory"),
            "admission.report": (worker.admission, "report"),
            "pool.leases.expire": (rig.pool.leases, "expire"),
        }
        for name, (owner, attribute) in parts.items():
            setattr(owner, attribute, fails if name == broken else lambda *_, name=name: done.append(name))
        if broken == "idle":
            worker.idle[object()] = Broken()
        worker.tidy()
        assert done == [name for name in parts if name != broken]
        assert rig.engine.crashes == 1
        rig.crashes = 1
        worker.idle.clear()
        for owner, attribute in parts.values():
            delattr(owner, attribute)

    run(work)
    assert "housekeeping failed" in caplog.text
