"""Who is moved, when, and at what pace; and that nobody else ever is."""

from contextlib import asynccontextmanager

import pytest
import trio
from state import config, keeping, pin
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.control.evictions import Stray
from balancer.errors import Refused
from balancer.health.availability import AVAILABLE, Availability
from balancer.overlay.overlay import SetState

DRAIN, SPREAD = 600.0, 30.0


@pytest.fixture
def clock():
    return MockClock()


class Tab:
    """An open tunnel: closes when it is ended, as a connection does."""

    def __init__(self, floor, token, backend):
        self.floor, self.token, self.backend = floor, token, backend
        self.lease = floor.pool.leases.open(token, self, backend)

    def close(self):
        self.floor.pool.leases.close(self.lease, self, trio.current_time())


class Nobodys:
    """An open tunnel of a request without a token, which holds no lease."""

    def __init__(self, floor, token, backend):
        self.floor, self.token = floor, token
        floor.pool.leases.without_token[self] = backend

    def close(self):
        del self.floor.pool.leases.without_token[self]


class Floor:
    """A pool with movers at work; ``ended`` are the tabs they have ended, with the time."""

    def __init__(self, controller, clock):
        self.controller, self.clock = controller, clock
        self.pool = controller.pool_state("ide")
        self.ended = []
        self.reasons = set()
        self.evictions = controller.evictions(self.end, DRAIN, SPREAD)

    def end(self, tab, why):
        self.ended.append((trio.current_time(), tab))
        self.reasons.add(why)
        tab.close()

    def users(self, count, backend, tabs=1):
        return [[Tab(self, b"%s-%d" % (backend.encode(), n), backend) for _ in range(tabs)] for n in range(count)]

    def astray(self, count, tabs=1):
        """Users of a on b."""
        tokens = [token for token in (b"t%d" % n for n in range(1000)) if self.pool.placement.ring.owner(token) == "a"]
        return [[Tab(self, token, "b") for _ in range(tabs)] for token in tokens[:count]]

    async def state(self, backend, state):
        await self.controller.change("ide", [SetState(backend=backend, state=state)], "tests")

    async def passes(self, seconds, step=0.25):
        for _ in range(int(seconds / step)):
            self.clock.jump(step)
            await wait_all_tasks_blocked()

    def moved(self):
        """Users in the order in which they were moved, with the time; their tabs all at that moment."""
        times = {}
        for at, tab in self.ended:
            assert times.setdefault(tab.token, at) == at
        return times


@asynccontextmanager
async def working(clock, settings=None):
    async with keeping(settings=settings) as controller, trio.open_nursery() as nursery:
        floor = Floor(controller, clock)
        nursery.start_soon(floor.evictions.run)
        await wait_all_tasks_blocked()
        yield floor, nursery
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("state", ["drain", "maint"])
async def test_after_the_drain_everyone_is_moved_one_by_one(clock, state):
    async with working(clock) as (floor, _):
        gone, others = floor.users(10, "a", tabs=2), floor.users(5, "b")
        both = [Tab(floor, b"both", "b"), Tab(floor, b"both", "a")]
        await floor.state("a", state)
        await floor.passes(DRAIN - 1)
        assert not floor.ended
        await floor.passes(SPREAD + 3)
        moved = floor.moved()
        assert set(moved) == {tabs[0].token for tabs in gone} | {b"both"}
        assert len(floor.ended) == 21  # two tabs each, and one of who has another elsewhere
        assert both[0].lease.place == "b"
        times = sorted(moved.values())
        assert len(set(times)) == 11
        assert DRAIN <= times[0] <= DRAIN + 1
        assert SPREAD * 0.8 <= times[-1] - times[0] <= SPREAD
        assert floor.pool.leases.users == {"a": 0, "b": 6}
        assert all(tabs[0].lease.sessions for tabs in others)
        assert floor.reasons == {"the drain of a is over"}


async def test_tunnels_without_a_token_end_too(clock):
    async with working(clock) as (floor, _):
        floor.users(2, "a")
        gone = [Nobodys(floor, f"nobody's {n}", "a") for n in range(3)]
        stays = Nobodys(floor, "nobody's", "b")
        await floor.state("a", "drain")
        await floor.passes(DRAIN - 1)
        assert not floor.ended
        await floor.passes(SPREAD + 3)
        times = floor.moved()
        assert set(times) == {b"a-0", b"a-1"} | {each.token for each in gone}
        assert len(set(times.values())) == 5
        assert list(floor.pool.leases.without_token) == [stays]


async def test_whoever_was_moved_goes_elsewhere(clock):
    async with working(clock) as (floor, _):
        floor.users(1, "a")
        await floor.state("a", "drain")
        await floor.passes(DRAIN + SPREAD + 2)
        decision = next(floor.pool.candidates(b"a-0", trio.current_time()))
        assert decision.backend.name != "a"
        assert decision.reason != "lease"


async def test_ready_again_stops_it(clock):
    async with working(clock) as (floor, _):
        floor.users(10, "a")
        await floor.state("a", "drain")
        await floor.passes(DRAIN + SPREAD / 2)
        some = len(floor.ended)
        assert 3 <= some <= 7
        await floor.state("a", "ready")
        await floor.passes(SPREAD * 2)
        assert len(floor.ended) == some
        await floor.state("a", "drain")  # and a new drain has all its time
        await floor.passes(DRAIN - 1)
        assert len(floor.ended) == some
        await floor.passes(SPREAD + 3)
        assert len(floor.ended) == 10


async def test_who_leaves_and_returns_while_waiting_for_a_turn_is_not_touched(clock):
    async with working(clock) as (floor, _):
        users = floor.users(10, "a")
        await floor.state("a", "drain")
        await floor.passes(DRAIN + 1)
        (last,) = users[-1]
        assert last.lease.sessions
        last.close()
        await floor.passes(0.25)
        Tab(floor, last.token, "b")
        await floor.passes(SPREAD * 2)
        assert last.token not in floor.moved()
        assert floor.pool.leases.get(last.token, trio.current_time()).place == "b"


async def test_nobody_is_moved_for_any_other_reason(clock):
    async with working(clock) as (floor, _):
        floor.astray(5)
        floor.users(5, "c")
        await floor.controller.change("ide", [pin(floor.controller, b"c-0", "a")], "tests")
        floor.pool.backends["c"].counts.held = 1
        await floor.passes(86400, step=600)
        assert not floor.ended


async def test_strays_are_told_by_digest_and_whole(clock):
    async with working(clock) as (floor, _):
        (tabs,) = floor.astray(1, tabs=2)
        Tab(floor, b"home", floor.pool.placement.ring.owner(b"home"))
        digest = floor.controller.digest(tabs[0].token)
        assert await floor.evictions.strays("ide") == [Stray(digest, "b", "a", 2)]
        assert await floor.evictions.count_strays("ide") == 1


async def test_settling_sends_strays_home_at_the_rate(clock):
    async with working(clock) as (floor, nursery):
        users = floor.astray(6, tabs=2)
        extra = Tab(floor, users[0][0].token, "c")  # a user on two hosts, both wrong
        home = Tab(floor, users[1][0].token, "a")  # and one who is at home as well, by an earlier tab
        Tab(floor, users[1][0].token, "b")
        begun = trio.current_time()
        work = await nursery.start(floor.evictions.settle, "ide", 2.0)
        assert floor.evictions.settling("ide") is work
        assert not work.done
        await floor.passes(5)
        moved = floor.moved()
        assert [at - begun for at in moved.values()] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        assert (work.strays, work.moved, work.skipped) == (6, 6, 0)
        assert not extra.lease.sessions
        assert list(home.lease.sessions) == [home]
        assert work.done
        assert await floor.evictions.strays("ide") == []


async def test_settling_skips_those_whose_home_is_down_and_who_are_home_by_now(clock):
    async with working(clock) as (floor, nursery):
        users = floor.astray(3)
        work = await nursery.start(floor.evictions.settle, "ide", 0.1)
        Tab(floor, users[1][0].token, "a")
        users[2][0].close()
        await floor.passes(30)
        assert (work.moved, work.skipped) == (1, 2)
        users = floor.astray(3)
        floor.pool.backends["a"].counts.held = 1
        work = await nursery.start(floor.evictions.settle, "ide", 10.0)
        await floor.passes(2)
        assert (work.moved, work.skipped) == (0, work.strays)


async def test_settling_is_stopped_or_replaced(clock):
    async with working(clock) as (floor, nursery):
        floor.astray(10)
        first = await nursery.start(floor.evictions.settle, "ide", 1.0)
        await floor.passes(2.25)
        assert first.moved == 3
        second = await nursery.start(floor.evictions.settle, "ide", 1.0)
        await floor.passes(1.25)
        assert (first.moved, second.moved, second.strays) == (3, 2, 7)
        assert floor.evictions.settling("ide") is second
        floor.evictions.stop_settling("ide")
        await floor.passes(20)
        assert (second.moved, floor.evictions.settled) == (2, 5)
        assert first.done
        assert second.done
        floor.evictions.stop_settling("ide")


@pytest.mark.parametrize("rate", [0.0, -1.0, 1001.0, float("nan")])
async def test_rates_that_are_none(clock, rate):
    async with working(clock) as (floor, _):
        with pytest.raises(Refused, match="a rate lies"):
            await floor.evictions.settle("ide", rate)


async def test_pools_drain_apart(clock):
    async with keeping(settings=config(pools=("ide", "other"))) as controller, trio.open_nursery() as nursery:
        floor = Floor(controller, clock)
        nursery.start_soon(floor.evictions.run)
        floor.users(3, "a")
        await controller.change("other", [SetState(backend="a", state="drain")], "tests")
        await wait_all_tasks_blocked()
        await floor.passes(DRAIN + SPREAD, step=10)
        assert not floor.ended
        nursery.cancel_scope.cancel()


class TestDown:
    """Tunnels of a backend that is down, where health checks say so and ``on_down`` asks for it."""

    def judge(self, floor, ok, *names):
        for name in names:
            floor.pool.update_availability({name: AVAILABLE if ok else Availability("as the test says", down=True)})

    def settings(self, on_down):
        return config(health={"type": "tcp", "on_down": on_down})

    async def test_they_are_kept(self, clock):
        async with working(clock, self.settings("keep")) as (floor, _):
            floor.users(5, "a")
            self.judge(floor, True, "b", "c")
            self.judge(floor, False, "a")
            await floor.passes(SPREAD * 2)
            assert not floor.ended

    async def test_they_are_closed_user_by_user(self, clock):
        async with working(clock, self.settings("close")) as (floor, _):
            floor.users(10, "a", tabs=2), floor.users(5, "b")
            self.judge(floor, True, "a", "b", "c")
            await floor.passes(SPREAD)
            assert not floor.ended
            self.judge(floor, False, "a")
            await floor.passes(SPREAD + 3)
            times = sorted(floor.moved().values())
            assert (len(times), len(floor.ended)) == (10, 20)
            assert SPREAD * 0.8 <= times[-1] - times[0] <= SPREAD
            assert floor.reasons == {"a is down"}
            assert next(floor.pool.candidates(b"a-0", trio.current_time())).backend.name != "a"

    async def test_up_again_stops_it_and_nobody_is_moved_back(self, clock):
        async with working(clock, self.settings("close")) as (floor, _):
            floor.users(10, "a")
            self.judge(floor, True, "b", "c")
            self.judge(floor, False, "a")
            await floor.passes(SPREAD / 2)
            some = len(floor.ended)
            assert 3 <= some <= 7
            self.judge(floor, True, "a")
            moved = floor.astray(3)
            await floor.passes(SPREAD * 3)
            assert len(floor.ended) == some
            assert {tab.lease.place for tabs in moved for tab in tabs} == {"b"}

    async def test_nobody_is_cut_off_where_there_is_nowhere_to_go(self, clock):
        async with working(clock, self.settings("close")) as (floor, _):
            floor.users(5, "a")
            self.judge(floor, False, "a", "b", "c")
            await floor.passes(SPREAD)
            assert not floor.ended
            self.judge(floor, True, "c")
            await floor.passes(SPREAD + 3)
            assert len(floor.ended) == 5

    async def test_settling_sends_nobody_to_a_host_that_wants_nobody(self, clock):
        async with working(clock, self.settings("keep")) as (floor, nursery):
            self.judge(floor, True, "a", "b", "c")
            floor.astray(3)
            floor.pool.update_availability({"a": Availability(requested_state="drain")})
            work = await nursery.start(floor.evictions.settle, "ide", 10.0)
            await floor.passes(3)
            assert (work.done, work.moved, work.skipped) == (True, 0, 3)
