"""A step of the engine ends in time, however many tasks are ready, and nobody waits for all of them."""

import trio
from net_rig import drain, pair, settle

from balancer.net.engine import SPELL, Engine
from balancer.net.park import PARK

COST = SPELL / 3
"""CPU time of one expensive step, as long as that of a TLS handshake."""


class Clock:
    """A clock that only expensive steps move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Flood:
    """Many tasks that become ready at once, each with expensive steps; ``order`` tells whose steps came when."""

    def __init__(self, engine, clock, count, steps=1):
        self.order = []
        self._engine, self._clock = engine, clock
        self._steps = steps
        self._tasks = [engine.spawn(self._work(number)) for number in range(count)]

    async def _work(self, number):
        await PARK
        for _ in range(self._steps):
            self._clock.now += COST
            self.order.append(number)
            await self._engine.give_way()

    def start(self):
        """Let all become ready in the same step."""
        self._engine.spawn(self._wake())

    async def _wake(self):
        await self._engine.give_way()  # so that they are woken within a step
        for task in self._tasks:
            self._engine.wake(task)


async def turns(clock, work):
    """The longest time by ``clock`` for which trio's other tasks did not get their turn during ``work``."""
    longest, done = 0.0, False

    async def watch(task_status=trio.TASK_STATUS_IGNORED):
        nonlocal longest
        task_status.started()
        while not done:
            before = clock.now
            await trio.lowlevel.checkpoint()
            longest = max(longest, clock.now - before)

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        await work()
        done = True
    return longest


async def test_a_step_ends_in_time():
    clock = Clock()
    engine = Engine(clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        flood = Flood(engine, clock, 187)

        async def work():
            flood.start()
            while len(flood.order) < 187:
                await trio.lowlevel.checkpoint()

        assert await turns(clock, work) <= 2 * (SPELL + 2 * COST), (
            "two steps, as trio may run the engine twice in a row"
        )
        assert flood.order == list(range(187))
        nursery.cancel_scope.cancel()


async def test_the_order_is_kept_over_many_steps():
    clock = Clock()
    engine = Engine(clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        flood = Flood(engine, clock, 50, steps=3)
        flood.start()
        await settle()
        for number in range(50):
            assert flood.order.count(number) == 3
        first = [flood.order.index(number) for number in range(50)]
        assert first == sorted(first)
        nursery.cancel_scope.cancel()


async def test_a_tunnel_does_not_wait_for_all_handshakes():
    clock = Clock()
    engine = Engine(clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        near, far = pair(engine)

        async def echo():
            while data := await near.recv():
                await near.send(data)

        near.task = engine.spawn(echo())
        await settle()
        flood = Flood(engine, clock, 187)
        flood.start()
        while not flood.order:
            await trio.lowlevel.checkpoint()
        far.send(b"key")
        while (answer := drain(far)) != b"key":
            assert not answer
            await trio.lowlevel.checkpoint()
        assert len(flood.order) < 20, "of 187 that were ready before"
        nursery.cancel_scope.cancel()
        near.close()
        far.close()


async def test_tasks_woken_outside_of_a_step_do_not_hold_up_their_waker():
    clock = Clock()
    engine = Engine(clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        done = []

        async def burn(number):
            clock.now += COST
            done.append(number)

        async def burst():
            for number in range(100):
                engine.spawn(burn(number))

        engine.spawn(burst())
        assert not done, "they were spawned within a step"
        await settle()
        assert done == list(range(100))
        nursery.cancel_scope.cancel()
