"""Whatever a connection waits for when it is ended, nothing of it stays behind: no descriptor, place, lease or count.

The scripts are run again and again, each time with an error raised where the connection waits for the n-th time, until
a run waits fewer times than that.
"""

import pytest
from playbook import play
from playbooks import GET, OK, PLAYBOOKS
from proxy_rig import run

from balancer.net.engine import Closed, Engine, TimedOut

LIMITED = {"max_connections": 4}
"""Settings of a pool that counts its connections in all workers."""
MAX_WAITS = 200
ERRORS = [Closed("the test ends it"), TimedOut(), RuntimeError("a fault of ours")]
each_error = pytest.mark.parametrize("error", ERRORS, ids=["closed", "timed out", "crash"])


class Interrupted:
    """Awaits a coroutine of the engine, and raises ``error`` in it where it waits for the ``nth`` time."""

    def __init__(self, coro, nth, error):
        self.coro, self.nth, self.error = coro, nth, error
        self.waits = 0

    def __await__(self):
        step, value = self.coro.send, None
        while True:
            try:
                step(value)
            except StopIteration:
                return
            self.waits += 1
            if self.waits == self.nth:
                step, value = self.coro.throw, self.error
                continue
            step, value = self.coro.send, None
            try:
                yield
            except GeneratorExit:
                self.coro.close()
                raise
            except Exception as error:
                step, value = self.coro.throw, error


class Interrupting(Engine):
    """An engine that interrupts one of its tasks; the first task is the acceptor, then come the clients in order."""

    def __init__(self, nth, error, client):
        self.nth, self.error, self.client = nth, error, client
        self.interrupted = None
        self.spawned = 0
        super().__init__()

    def spawn(self, coro):
        self.spawned += 1
        if self.spawned != 1 + self.client:
            return super().spawn(coro)
        self.interrupted = Interrupted(coro, self.nth, self.error)
        return super().spawn(_awaited(self.interrupted))


async def _awaited(interrupted):
    await interrupted


def interruptions(error, client=1):
    """Engines that interrupt a client at its first wait, its second, and so on, for as long as it waits."""
    for nth in range(1, MAX_WAITS):
        engine = Interrupting(nth, error, client)
        yield engine
        if engine.interrupted.waits < nth:
            return
    pytest.fail("it waits for ever")


def expect(rig, error):
    """Allow for what ``error`` does."""
    rig.lenient = True
    rig.crashes = None if isinstance(error, RuntimeError) else 0


@each_error
@pytest.mark.parametrize("playbook", PLAYBOOKS.values(), ids=PLAYBOOKS.keys())
def test_one_connection(playbook, error):
    pool = {**LIMITED, **playbook.settings.get("pool", {})}
    for engine in interruptions(error):
        play(playbook, engine=engine, pool=pool, before=lambda rig: expect(rig, error))


@each_error
def test_a_request_that_waits_for_its_turn(error):
    async def work(rig):
        expect(rig, error)
        await rig.client(GET)
        await rig.client(GET)
        last = await rig.client(GET)
        await rig.passes(0.2)
        for _ in range(3):
            await rig.send(rig.hosts["a"].last, OK)
            await rig.passes(0.2)
        assert last.got == OK, "one that waits behind it is served nevertheless"

    for engine in interruptions(error, client=2):
        run(work, engine=engine, pool={"max_connections": 1})
