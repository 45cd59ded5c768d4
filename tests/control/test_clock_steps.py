"""The system's clock is set forward and back: what lasts a while lasts as long as it was meant to, and ends once."""

import pytest
import trio
from state import START, Wall, config, journal, keeping, pin
from state import Kept as Site
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.control.clock import Clock
from balancer.control.placement_controller import TICK
from balancer.health.results import Verdict
from balancer.overlay.overlay import SetState, SetWeight, Steer
from balancer.store.health_file import HealthFile

DAY = 86400.0
STEPS = [-2 * DAY, -90.0, 90.0, 2 * DAY]


class Settable(Wall):
    """The system's clock, which somebody sets."""

    ahead = 0.0

    def __call__(self):
        return super().__call__() + self.ahead


class Desk:
    """What control keeps, at work, on a clock that can be set."""

    def __init__(self, store, clock):
        self.clock, self.wall = clock, Settable()
        self.kept = Site(config(), store, self.wall)
        self.pool = self.kept.pool_state("ide")
        self.ended = []
        self.evictions = self.kept.evictions(lambda tab, _: self.ended.append(tab), drain=600.0)

    def weight(self):
        return round(self.pool.weights["a"], 1)

    async def change(self, *changes):
        await self.kept.change("ide", changes, "root")

    async def passes(self, seconds):
        for _ in range(round(seconds / TICK)):
            await wait_all_tasks_blocked()
            self.clock.jump(TICK)
            await wait_all_tasks_blocked()
            async with self.kept.alone():  # what has come due is done, in a thread in part
                pass


@pytest.fixture
def clock():
    return MockClock()


@pytest.fixture
def store(tmp_path):
    with journal(tmp_path) as opened:
        yield opened


async def test_a_step_is_taken_once_and_slewing_is_none(clock):
    wall = Settable()
    told = Clock(wall)
    assert told() == pytest.approx(START)
    wall.ahead = 0.5
    assert (told.take_step(), told()) == (0.0, pytest.approx(START))
    wall.ahead = -DAY
    assert told() == pytest.approx(START)
    assert told.take_step() == pytest.approx(-DAY)
    assert (told(), told.take_step()) == (pytest.approx(START - DAY), 0.0)


@pytest.mark.parametrize("step", STEPS)
async def test_a_ramp_takes_its_time_and_does_not_run_again(store, clock, step):
    async with trio.open_nursery() as nursery:
        desk = Desk(store, clock)
        nursery.start_soon(desk.kept.run)
        await desk.change(SetWeight(backend="a", weight=11.0, over=100.0))
        await desk.passes(52)
        assert desk.weight() in (6.0, 6.2)
        desk.wall.ahead = step
        await desk.passes(20)
        assert 7.8 <= desk.weight() <= 8.4
        await desk.passes(40)
        assert desk.weight() == 11.0
        desk.wall.ahead -= 2 * DAY
        await desk.passes(10)
        assert desk.weight() == 11.0
        again = Desk(store, clock)
        again.wall.ahead = desk.wall.ahead - 3 * DAY
        assert Site(config(), store, again.wall).pool_state("ide").weights["a"] == 11.0, "nor after a restart"
        await desk.change(Steer(backend="a", action="rollback"))
        assert desk.weight() == 1.0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("step", STEPS)
async def test_drains_and_pins_end_when_they_would_have(store, clock, step):
    async with trio.open_nursery() as nursery:
        desk = Desk(store, clock)
        nursery.start_soon(desk.kept.run)
        nursery.start_soon(desk.evictions.run)
        desk.pool.leases.open(b"user", "tab", "a")
        await desk.change(SetState(backend="a", state="drain"), pin(desk.kept, b"ann", "b", until=START + 300.0))
        await desk.passes(100)
        desk.wall.ahead = step
        await desk.passes(190)
        assert desk.pool.overlay.pins
        await desk.passes(20)
        assert not desk.pool.overlay.pins
        await desk.passes(280)
        assert not desk.ended
        await desk.passes(15)
        assert desk.ended == ["tab"]
        nursery.cancel_scope.cancel()


async def test_a_state_that_began_in_the_future_began_now(tmp_path, clock):
    async with keeping(settings=config(health={"type": "tcp"})) as kept:
        known = f'{{"state": "down", "since": {START + DAY}, "address": "10.0.0.1:4000", "text": ""}}'
        (tmp_path / "health.json").write_text(f'{{"ide": {{"a": {known}}}}}')
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.prober(HealthFile(tmp_path), None).run)
            while "a" not in kept.pool_state("ide").health:
                await trio.lowlevel.checkpoint()
            health = kept.pool_state("ide").health["a"]
            assert (health.state, health.since) == (Verdict.DOWN, trio.current_time())
            nursery.cancel_scope.cancel()
