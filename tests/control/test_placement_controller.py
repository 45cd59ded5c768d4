"""Changes: all or nothing, in one order, active when acknowledged, and in time."""

import resource
import time
from math import ceil

import pytest
import trio
from state import START, config, journaled, keeping, pin, ticks, until
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.control.placement_controller import TICK, Outdated
from balancer.errors import Refused
from balancer.health.availability import AVAILABLE
from balancer.health.results import AgentReport, Result
from balancer.health.tracker import HealthTracker
from balancer.overlay.overlay import Add, Overlay, Remove, SetState, SetWeight, Steer
from balancer.overlay.replay import replayed
from balancer.ring.build import build

TOKENS = [b"token-%d" % number for number in range(500)]


@pytest.fixture
def clock():
    return MockClock()


def replay(store):
    """Overlay of the pool from all entries."""
    overlay, known = Overlay(), None
    for entry in journaled(store):
        known = entry.config or known
        overlay = replayed(overlay, entry, known)
    return overlay


async def test_in_force_when_acknowledged_and_on_the_disk_before(tmp_path, clock):
    async with keeping(tmp_path) as controller:
        pool, seen = controller.pool_state("ide"), []
        place = pool.place

        def watched(ring, weights, placement):
            seen.append([change.op for change in journaled(controller)[-1].changes])
            place(ring, weights, placement)

        pool.place = watched
        entry = await controller.change(
            "ide", [pin(controller, b"ann", "a"), SetState(backend="b", state="drain")], "root"
        )
        assert seen == [["pin", "state"]]
        assert pool.placement.pinned(b"ann") == "a"
        assert pool.placement.states == {"b": "drain"}
        assert (entry.seq, entry.who, entry.time) == (controller.seq, "root", START)
        assert journaled(controller)[-1] == entry


async def test_all_or_none(clock):
    async with keeping() as controller:
        pool_state = controller.pool_state("ide")
        before = pool_state.overlay
        with pytest.raises(Refused, match="no backend"):
            await controller.change(
                "ide", [pin(controller, b"ann", "a"), SetState(backend="gone", state="drain")], "root"
            )
        assert pool_state.overlay is before
        assert pool_state.placement.pinned(b"ann") is None
        with pytest.raises(Refused, match='no pool "gone"'):
            await controller.change("gone", [], "root")


async def test_a_change_meant_for_another_state_is_refused(clock):
    async with keeping() as controller:
        pool_state = controller.pool_state("ide")
        seen = pool_state.version
        await controller.change("ide", [pin(controller, b"ann", "a")], "root", only_at=seen)
        after = pool_state.overlay
        with pytest.raises(Outdated):
            await controller.change("ide", [pin(controller, b"ann", "b")], "root", only_at=seen)
        assert pool_state.overlay is after


async def test_changes_at_once_have_one_order_the_journals(tmp_path, clock):
    async with keeping(tmp_path) as controller:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                for change in (pin(controller, b"ann", "abc"[number % 3]), SetWeight(backend="a", weight=1.0 + number)):
                    nursery.start_soon(controller.change, "ide", [change], f"operator {number}")
        pool_state = controller.pool_state("ide")
        entries = journaled(controller)
        assert [entry.seq for entry in entries] == list(range(1, 18))
        assert [entry.before for entry in entries[2:]] == [entry.after for entry in entries[1:-1]]
        assert pool_state.ring.fingerprint == entries[-1].after
        assert pool_state.overlay == replay(controller)


async def test_who_is_cancelled_leaves_all_or_nothing(tmp_path, clock):
    async with keeping(tmp_path) as controller:
        pool_state = controller.pool_state("ide")
        for number in range(25):
            before, ring, entries = pool_state.overlay, pool_state.ring, len(journaled(controller))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(controller.change, "ide", [SetWeight(backend="b", weight=2.0 + number)], "root")
                    for _ in range(number):
                        await trio.lowlevel.checkpoint()
                    if number % 2:  # in the middle of writing: the line is there and not yet flushed to the disk
                        await until(lambda entries=entries: len(journaled(controller)) > entries)
                    scope.cancel()
            if pool_state.overlay is before:
                assert pool_state.ring is ring
                assert len(journaled(controller)) == entries
            else:
                assert pool_state.ring.weights["b"] == 2.0 + number
                assert len(journaled(controller)) == entries + 1
            assert pool_state.placement.ring is pool_state.ring
            assert pool_state.overlay == replay(controller)


async def test_another_start_knows_everything(tmp_path, clock):
    async with keeping(tmp_path) as controller:
        await controller.change("ide", [pin(controller, b"ann", "b"), SetWeight(backend="a", weight=3.0)], "root")
        await controller.change(
            "ide", [Add(name="d", address="10.9.9.9:1"), SetState(backend="c", state="maint")], "root"
        )
        before = controller.pool_state("ide")
    async with keeping(tmp_path) as controller:
        pool_state = controller.pool_state("ide")
        assert pool_state.overlay == before.overlay
        assert pool_state.ring.fingerprint == before.ring.fingerprint
        assert pool_state.placement.home(b"ann") == "b"
        assert str(pool_state.backends["d"].address) == "10.9.9.9:1"
        assert controller.seq == 3


async def test_pools_are_kept_apart(tmp_path, clock):
    settings = config(pools=("one", "two"))
    async with keeping(tmp_path, settings) as controller:
        await controller.change("two", [SetState(backend="a", state="drain")], "root")
    async with keeping(tmp_path, settings) as controller:
        assert controller.pool_state("one").overlay == Overlay()
        assert controller.pool_state("two").placement.states == {"a": "drain"}


async def test_backends_come_and_go(clock):
    async with keeping() as controller:
        pool_state = controller.pool_state("ide")
        await controller.change("ide", [Add(name="d", address="10.9.9.9:1", weight=2.0)], "root")
        assert pool_state.ring.weights == {"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0}
        assert str(pool_state.backends["d"].address) == "10.9.9.9:1"
        await controller.change("ide", [Remove(name="d"), Remove(name="a")], "root")
        assert pool_state.ring.members == ("b", "c")
        assert set(pool_state.backends) == {"a", "b", "c"}  # the configured one may come back by its weight


async def test_a_ramp_goes_on_by_itself_towards_its_backend(clock):
    async with keeping(settings=config({"a": 1.0, "b": 0.0})) as controller, trio.open_nursery() as nursery:
        pool_state = controller.pool_state("ide")
        nursery.start_soon(controller.run)
        await controller.change("ide", [SetWeight(backend="b", weight=1.0, over=60.0)], "root")
        held, rings = set(), []
        for second in range(1, 61, 5):
            ring = pool_state.ring
            await ticks(clock, controller, lambda ring=ring: pool_state.ring is not ring, 5.0)
            rings.append(pool_state.ring)
            assert pool_state.placement.ring is pool_state.ring
            now = {token for token in TOKENS if pool_state.ring.owner(token) == "b"}
            assert held <= now, second
            held = now
        assert rings[-1].fingerprint == build(pool_state.config, {"b": 1.0}).fingerprint
        assert len({ring.fingerprint for ring in rings}) == len(rings) == 12
        nursery.cancel_scope.cancel()


async def test_a_ramp_is_paused_and_taken_back(clock):
    async with keeping(settings=config({"a": 1.0, "b": 0.0})) as controller, trio.open_nursery() as nursery:
        pool_state = controller.pool_state("ide")
        nursery.start_soon(controller.run)
        await controller.change("ide", [SetWeight(backend="b", weight=1.0, over=60.0)], "root")
        await ticks(clock, controller, lambda: pool_state.weights["b"] == 0.5, 30.0)
        await controller.change("ide", [Steer(backend="b", action="pause")], "root")
        paused = pool_state.ring
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(3600.0)
        await trio.testing.wait_all_tasks_blocked()
        assert pool_state.ring is paused
        await controller.change("ide", [Steer(backend="b", action="rollback")], "root")
        assert pool_state.ring.members == ("a",)
        nursery.cancel_scope.cancel()


async def test_a_pin_ends_in_time_and_in_the_journal(tmp_path, clock):
    async with keeping(tmp_path) as controller, trio.open_nursery() as nursery:
        pool_state = controller.pool_state("ide")
        nursery.start_soon(controller.run)
        await controller.change(
            "ide", [pin(controller, b"ann", "a", until=START + 10), pin(controller, b"bob", "b")], "root"
        )
        await ticks(clock, controller, lambda: not pool_state.overlay.expired(START + 10), 10.0)
        assert pool_state.placement.pinned(b"ann") is None
        assert pool_state.placement.pinned(b"bob") == "b"
        assert journaled(controller)[-1].who == "balancer (expiry)"
        nursery.cancel_scope.cancel()


async def test_a_full_disk_does_not_prolong_a_pin(tmp_path, clock, caplog):
    async with keeping(tmp_path) as controller, trio.open_nursery() as nursery:
        pool = controller.pool_state("ide")
        nursery.start_soon(controller.run)
        await controller.change("ide", [pin(controller, b"ann", "a", until=START + 10)], "root")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        try:
            await ticks(clock, controller, lambda: pool.placement.pinned(b"ann") is None, 10.0)
            await ticks(clock, controller, lambda: "nothing was changed" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await ticks(clock, controller, lambda: len(journaled(controller)) == 3)  # once there is room
        nursery.cancel_scope.cancel()


async def test_a_ring_that_cannot_be_built_is_refused(clock):
    async with keeping(settings=config(ring={"algorithm": "nginx"})) as controller:
        pool_state = controller.pool_state("ide")
        before = pool_state.overlay
        with pytest.raises(Refused, match="same nginx server"):
            await controller.change("ide", [Add(name="d", address="10.0.0.1:4000")], "root")
        assert pool_state.overlay is before


class TestChangedConfiguration:
    """The file is edited while the overlay says what it said."""

    async def test_weights_that_would_empty_the_ring_do_not_stop_the_start(self, tmp_path, clock, caplog):
        async with keeping(tmp_path) as controller:
            await controller.change(
                "ide", [SetWeight(backend="a", weight=0.0), SetWeight(backend="b", weight=9.0)], "root"
            )
        async with keeping(tmp_path, config({"a": 1.0})) as controller, trio.open_nursery() as nursery:
            pool_state = controller.pool_state("ide")
            assert pool_state.ring.members == ("a",)
            assert "they are left out" in caplog.text
            caplog.clear()
            nursery.start_soon(controller.run)
            await controller.change("ide", [pin(controller, b"ann", "a")], "root")
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(5.0)
            await trio.testing.wait_all_tasks_blocked()
            assert not [record for record in caplog.records if record.levelname == "ERROR"]
            nursery.cancel_scope.cancel()

    async def test_a_backend_added_live_is_written_into_the_file(self, tmp_path, clock, caplog):
        async with keeping(tmp_path) as controller:
            await controller.change("ide", [Add(name="d", address="10.9.9.9:1", weight=3.0)], "root")
        settings = config({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.5})
        async with keeping(tmp_path, settings) as controller:
            pool_state = controller.pool_state("ide")
            assert pool_state.ring.weights["d"] == 1.5
            assert str(pool_state.backends["d"].address) == "10.0.0.4:4000"
            assert not [record for record in caplog.records if record.levelname == "ERROR"]
            await controller.change("ide", [Remove(name="d")], "root")
            assert "d" not in pool_state.ring.members

    async def test_only_drained_backends_are_left(self, tmp_path, clock, caplog):
        async with keeping(tmp_path) as controller:
            await controller.change("ide", [SetState(backend="a", state="drain")], "root")
        async with keeping(tmp_path, config({"a": 1.0})) as controller:
            assert "no backend is ready" in caplog.text
            assert list(controller.pool_state("ide").candidates(b"ann", 0.0)) == []
            await controller.change("ide", [SetState(backend="a", state="ready")], "root")
            assert [each.reason for each in controller.pool_state("ide").candidates(b"ann", 0.0)] == ["owner"]

    async def test_pins_on_a_backend_that_is_gone_do_not_count(self, tmp_path, clock):
        async with keeping(tmp_path) as controller:
            await controller.change("ide", [pin(controller, b"ann", "c")], "root")
        async with keeping(tmp_path, config({"a": 1.0, "b": 1.0})) as controller:
            pool_state = controller.pool_state("ide")
            assert pool_state.placement.home(b"ann") == pool_state.ring.owner(b"ann")
        async with keeping(tmp_path) as controller:
            assert controller.pool_state("ide").placement.home(b"ann") == "c"

    async def test_it_is_noted(self, tmp_path, clock):
        async with keeping(tmp_path) as controller:
            first = controller.pool_state("ide").ring.fingerprint
        async with keeping(tmp_path, config({"a": 1.0})) as controller:
            last = journaled(controller)[-1]
            assert (last.before, last.after) == (first, controller.pool_state("ide").ring.fingerprint)
            assert [backend.name for backend in last.config.backends] == ["a"]
        async with keeping(tmp_path, config({"a": 1.0})) as controller:
            assert len(journaled(controller)) == 2


async def test_a_large_ring_is_replaced_without_a_long_stop(tmp_path):
    """While the ring of 500 backends is built and swapped, the event loop has little work between two turns."""
    settings = config({f"ide-{number:03d}": 1.0 for number in range(500)})
    async with keeping(tmp_path, settings) as controller:
        await controller.change("ide", [SetWeight(backend="ide-007", weight=2.0)], "root")
        longest = 0.0
        async with trio.open_nursery() as nursery:

            async def watch():
                nonlocal longest
                last = time.thread_time()  # of this thread's CPU: how long it waits for a processor is no matter
                while True:
                    await trio.lowlevel.checkpoint()
                    longest, last = max(longest, time.thread_time() - last), time.thread_time()

            nursery.start_soon(watch)
            for weight in (3.0, 4.0):
                await controller.change("ide", [SetWeight(backend="ide-007", weight=weight)], "root")
            nursery.cancel_scope.cancel()
        assert longest < 0.5, "building the ring takes seconds"


@pytest.mark.parametrize(
    ("ring", "weights"),
    [
        ({}, {"a": 0.75, "b": 0.0, "c": 1.0}),
        ({"algorithm": "haproxy"}, {"a": 1.0, "b": 0.0, "c": 1.0}),
        ({"algorithm": "nginx"}, {"a": 1.0, "b": 1.0, "c": 1.0}),
    ],
)
async def test_agents_scale_weights_of_the_kind_the_ring_knows(clock, ring, weights):
    async with (
        keeping(settings=config(ring=ring, health={"type": "tcp"})) as controller,
        trio.open_nursery() as nursery,
    ):
        pool_state = controller.pool_state("ide")
        nursery.start_soon(controller.run)
        for name, percent in {"a": 75, "b": 0}.items():
            pool_state.health[name] = HealthTracker(pool_state.config.health)
            pool_state.health[name].heed(AgentReport(percent=percent))
        await ticks(clock, controller, lambda: pool_state.weights == weights)
        entry = await controller.change("ide", [SetWeight(backend="c", weight=2.0)], "root")
        assert pool_state.weights == {**weights, "c": 2.0}
        assert (
            entry.after
            == pool_state.ring.fingerprint
            == (await controller.ring_of(pool_state, pool_state.overlay)).fingerprint
        )
        nursery.cancel_scope.cancel()


async def test_agents_cannot_leave_users_without_anyone(clock):
    async with keeping(settings=config(health={"type": "tcp"})) as controller, trio.open_nursery() as nursery:
        pool_state = controller.pool_state("ide")
        await controller.change("ide", [SetState(backend="c", state="drain")], "root")
        nursery.start_soon(controller.run)
        for name in "ab":
            pool_state.health[name] = HealthTracker(pool_state.config.health)
            pool_state.health[name].heed(AgentReport(percent=0))
        await ticks(clock, controller, lambda: True)
        await wait_all_tasks_blocked()
        assert pool_state.weights == {"a": 1.0, "b": 1.0, "c": 1.0}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("ring", "beginning"), [({}, 0.05), ({"algorithm": "haproxy", "hash_type": "consistent"}, 1.0)]
)
async def test_a_backend_that_returns_gets_its_points_back_by_and_by(clock, ring, beginning):
    weights = dict.fromkeys("abc", 2.0 if ring else 1.0)
    settings = config(weights, ring=ring, health={"type": "tcp", "fall": 1, "rise": 1, "slow_start": "20s"})
    async with keeping(settings=settings) as controller, trio.open_nursery() as nursery:
        pool_state = controller.pool_state("ide")
        health = pool_state.health["a"] = HealthTracker(pool_state.config.health)
        pool_state.update_availability({"b": AVAILABLE, "c": AVAILABLE})
        nursery.start_soon(controller.run)

        def probed(ok):
            health.observe(Result(ok, ""), trio.current_time())
            pool_state.update_availability({"a": health.stand(trio.current_time())})

        probed(True)
        await ticks(clock, controller, lambda: pool_state.weights == weights)
        probed(False)
        await ticks(clock, controller, lambda: pool_state.weights["a"] == beginning)
        assert pool_state.placement.weights == weights, "of the pool it is as much as before"
        probed(True)
        seen = []
        for _ in range(21):
            await wait_all_tasks_blocked()
            clock.jump(TICK)
            wanted = 2.0 * health.warmth(trio.current_time()) if ring else health.warmth(trio.current_time())
            await until(lambda wanted=wanted: pool_state.weights["a"] == (ceil(wanted) if ring else wanted))
            seen.append(pool_state.weights["a"])
        assert seen == sorted(seen)
        assert seen[-1] == weights["a"]
        assert len(set(seen)) == (2 if ring else 19)
        nursery.cancel_scope.cancel()


async def test_the_map_of_haproxy_is_made_without_those_that_are_out(clock):
    """As haproxy's: whoever takes over from it has to move everybody alike, and without a slow start."""
    settings = config(ring={"algorithm": "haproxy"}, health={"type": "tcp", "fall": 1, "rise": 1, "slow_start": "20s"})
    async with keeping(settings=settings) as controller, trio.open_nursery() as nursery:
        pool_state = controller.pool_state("ide")
        health = pool_state.health["a"] = HealthTracker(pool_state.config.health)
        pool_state.update_availability({"b": AVAILABLE, "c": AVAILABLE})
        nursery.start_soon(controller.run)
        for ok, weight in ((True, 1.0), (False, 0.0), (True, 1.0)):
            health.observe(Result(ok, ""), trio.current_time())
            pool_state.update_availability({"a": health.stand(trio.current_time())})
            await ticks(
                clock, controller, lambda weight=weight: pool_state.weights == {"a": weight, "b": 1.0, "c": 1.0}
            )
            assert pool_state.placement.ring.fingerprint == build(pool_state.config, {"a": weight}).fingerprint
        nursery.cancel_scope.cancel()


async def test_in_panic_nobody_starts_slowly(clock):
    settings = config(health={"type": "tcp", "fall": 1, "slow_start": "20s", "panic_threshold": 0.5})
    async with keeping(settings=settings) as controller, trio.open_nursery() as nursery:
        pool_state = controller.pool_state("ide")
        nursery.start_soon(controller.run)
        pool_state.update_availability({"b": AVAILABLE, "c": AVAILABLE})
        for name, share in (("a", 0.05), ("b", 1.0)):
            health = pool_state.health[name] = HealthTracker(pool_state.config.health)
            health.observe(Result(False, ""), trio.current_time())
            pool_state.update_availability({name: health.stand(trio.current_time())})
            await ticks(clock, controller, lambda share=share: pool_state.weights["a"] == share)
        assert pool_state.panic
        assert pool_state.weights == {"a": 1.0, "b": 1.0, "c": 1.0}
        nursery.cancel_scope.cancel()
