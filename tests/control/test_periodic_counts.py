"""What is counted now and then is counted at once when an operator has changed something."""

import pytest
import trio
from state import keeping, pin, until
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.admin.periodic_counts import INTERVAL, PAUSE, PeriodicCounts


@pytest.fixture
def clock():
    return MockClock()


async def scanning(nursery, controller):
    """A scan that has counted once, and sleeps."""
    scan = PeriodicCounts(controller.pools, controller.evictions(None), controller.events)
    nursery.start_soon(scan.run)
    await until(lambda: scan.rings)
    await wait_all_tasks_blocked()
    return scan


async def passes(clock, seconds):
    clock.jump(seconds)
    await wait_all_tasks_blocked()


async def test_a_change_is_counted_at_once(clock):
    async with keeping() as controller, trio.open_nursery() as nursery:
        controller.pool_state("ide").leases.open(b"t", object(), "a")
        scan = await scanning(nursery, controller)
        await passes(clock, PAUSE)
        for backend, strays in (("a", 0), ("b", 1), ("a", 0)):
            await controller.change("ide", [pin(controller, b"t", backend)], "tests")
            await wait_all_tasks_blocked()
            assert scan.strays == {"ide": strays}
            await passes(clock, PAUSE)
        nursery.cancel_scope.cancel()


async def test_users_who_come_are_counted_later(clock):
    async with keeping() as controller, trio.open_nursery() as nursery:
        await controller.change("ide", [pin(controller, b"t", "b")], "tests")
        scan = await scanning(nursery, controller)
        controller.pool_state("ide").leases.open(b"t", object(), "a")
        await passes(clock, PAUSE)
        assert scan.strays == {"ide": 0}
        await passes(clock, INTERVAL)
        assert scan.strays == {"ide": 1}
        nursery.cancel_scope.cancel()
