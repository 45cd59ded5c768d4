"""Changes: all or nothing, in one order, in force when acknowledged, and in time."""

import resource
import time
from math import ceil

import pytest
import trio
from state import START, config, keeping, pin, ticks, until
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.control.placement_controller import TICK, Outdated
from balancer.control.pool_state import version
from balancer.errors import Refused
from balancer.health.availability import WELL
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
    for entry in store.entries():
        known = entry.config or known
        overlay = replayed(overlay, entry, known)
    return overlay


async def test_in_force_when_acknowledged_and_on_the_disk_before(tmp_path, clock):
    async with keeping(tmp_path) as keeper:
        pool, seen = keeper.book("ide").pool, []
        place = pool.place

        def watched(placement):
            seen.append([change.op for change in keeper.entries()[-1].changes])
            place(placement)

        pool.place = watched
        entry = await keeper.change("ide", [pin(keeper, b"ann", "a"), SetState(backend="b", state="drain")], "root")
        assert seen == [["pin", "state"]]
        assert pool.placement.pinned(b"ann") == "a"
        assert pool.placement.states == {"b": "drain"}
        assert (entry.seq, entry.who, entry.time) == (keeper.seq, "root", START)
        assert keeper.entries()[-1] == entry


async def test_all_or_none(clock):
    async with keeping() as keeper:
        book = keeper.book("ide")
        before = book.overlay
        with pytest.raises(Refused, match="no backend"):
            await keeper.change("ide", [pin(keeper, b"ann", "a"), SetState(backend="gone", state="drain")], "root")
        assert book.overlay is before
        assert book.pool.placement.pinned(b"ann") is None
        with pytest.raises(Refused, match='no pool "gone"'):
            await keeper.change("gone", [], "root")


async def test_a_change_meant_for_another_state_is_refused(clock):
    async with keeping() as keeper:
        book = keeper.book("ide")
        seen = version(book)
        await keeper.change("ide", [pin(keeper, b"ann", "a")], "root", only_at=seen)
        after = book.overlay
        with pytest.raises(Outdated):
            await keeper.change("ide", [pin(keeper, b"ann", "b")], "root", only_at=seen)
        assert book.overlay is after


async def test_changes_at_once_have_one_order_the_journals(tmp_path, clock):
    async with keeping(tmp_path) as keeper:
        async with trio.open_nursery() as nursery:
            for number in range(8):
                for change in (pin(keeper, b"ann", "abc"[number % 3]), SetWeight(backend="a", weight=1.0 + number)):
                    nursery.start_soon(keeper.change, "ide", [change], f"operator {number}")
        book = keeper.book("ide")
        entries = keeper.entries()
        assert [entry.seq for entry in entries] == list(range(1, 18))
        assert [entry.before for entry in entries[2:]] == [entry.after for entry in entries[1:-1]]
        assert book.ring.fingerprint == entries[-1].after
        assert book.overlay == replay(keeper)


async def test_who_is_cancelled_leaves_all_or_nothing(tmp_path, clock):
    async with keeping(tmp_path) as keeper:
        book = keeper.book("ide")
        for number in range(25):
            before, ring, entries = book.overlay, book.ring, len(keeper.entries())
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keeper.change, "ide", [SetWeight(backend="b", weight=2.0 + number)], "root")
                    for _ in range(number):
                        await trio.lowlevel.checkpoint()
                    if number % 2:  # in the middle of writing: the line is there and not yet flushed to the disk
                        await until(lambda entries=entries: len(keeper.entries()) > entries)
                    scope.cancel()
            if book.overlay is before:
                assert book.ring is ring
                assert len(keeper.entries()) == entries
            else:
                assert book.ring.weights["b"] == 2.0 + number
                assert len(keeper.entries()) == entries + 1
            assert book.pool.placement.ring is book.ring
            assert book.overlay == replay(keeper)


async def test_another_start_knows_everything(tmp_path, clock):
    async with keeping(tmp_path) as keeper:
        await keeper.change("ide", [pin(keeper, b"ann", "b"), SetWeight(backend="a", weight=3.0)], "root")
        await keeper.change("ide", [Add(name="d", address="10.9.9.9:1"), SetState(backend="c", state="maint")], "root")
        before = keeper.book("ide")
    async with keeping(tmp_path) as keeper:
        book = keeper.book("ide")
        assert book.overlay == before.overlay
        assert book.ring.fingerprint == before.ring.fingerprint
        assert book.pool.placement.home(b"ann") == "b"
        assert str(book.pool.backends["d"].address) == "10.9.9.9:1"
        assert keeper.seq == 3


async def test_pools_are_kept_apart(tmp_path, clock):
    settings = config(pools=("one", "two"))
    async with keeping(tmp_path, settings) as keeper:
        await keeper.change("two", [SetState(backend="a", state="drain")], "root")
    async with keeping(tmp_path, settings) as keeper:
        assert keeper.book("one").overlay == Overlay()
        assert keeper.book("two").pool.placement.states == {"a": "drain"}


async def test_backends_come_and_go(clock):
    async with keeping() as keeper:
        book = keeper.book("ide")
        await keeper.change("ide", [Add(name="d", address="10.9.9.9:1", weight=2.0)], "root")
        assert book.ring.weights == {"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0}
        assert str(book.pool.backends["d"].address) == "10.9.9.9:1"
        await keeper.change("ide", [Remove(name="d"), Remove(name="a")], "root")
        assert book.ring.members == ("b", "c")
        assert set(book.pool.backends) == {"a", "b", "c"}  # the configured one may come back by its weight


async def test_a_ramp_goes_on_by_itself_towards_its_backend(clock):
    async with keeping(settings=config({"a": 1.0, "b": 0.0})) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        nursery.start_soon(keeper.run)
        await keeper.change("ide", [SetWeight(backend="b", weight=1.0, over=60.0)], "root")
        held, rings = set(), []
        for second in range(1, 61, 5):
            ring = book.ring
            await ticks(clock, keeper, lambda ring=ring: book.ring is not ring, 5.0)
            rings.append(book.ring)
            assert book.pool.placement.ring is book.ring
            now = {token for token in TOKENS if book.ring.owner(token) == "b"}
            assert held <= now, second
            held = now
        assert rings[-1].fingerprint == build(book.config, {"b": 1.0}).fingerprint
        assert len({ring.fingerprint for ring in rings}) == len(rings) == 12
        nursery.cancel_scope.cancel()


async def test_a_ramp_is_paused_and_taken_back(clock):
    async with keeping(settings=config({"a": 1.0, "b": 0.0})) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        nursery.start_soon(keeper.run)
        await keeper.change("ide", [SetWeight(backend="b", weight=1.0, over=60.0)], "root")
        await ticks(clock, keeper, lambda: book.weights["b"] == 0.5, 30.0)
        await keeper.change("ide", [Steer(backend="b", action="pause")], "root")
        paused = book.ring
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(3600.0)
        await trio.testing.wait_all_tasks_blocked()
        assert book.ring is paused
        await keeper.change("ide", [Steer(backend="b", action="rollback")], "root")
        assert book.ring.members == ("a",)
        nursery.cancel_scope.cancel()


async def test_a_pin_ends_in_time_and_in_the_journal(tmp_path, clock):
    async with keeping(tmp_path) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        nursery.start_soon(keeper.run)
        await keeper.change("ide", [pin(keeper, b"ann", "a", until=START + 10), pin(keeper, b"bob", "b")], "root")
        await ticks(clock, keeper, lambda: not book.overlay.expired(START + 10), 10.0)
        assert book.pool.placement.pinned(b"ann") is None
        assert book.pool.placement.pinned(b"bob") == "b"
        assert keeper.entries()[-1].who == "balancer (expiry)"
        nursery.cancel_scope.cancel()


async def test_a_full_disk_does_not_prolong_a_pin(tmp_path, clock, caplog):
    async with keeping(tmp_path) as keeper, trio.open_nursery() as nursery:
        pool = keeper.book("ide").pool
        nursery.start_soon(keeper.run)
        await keeper.change("ide", [pin(keeper, b"ann", "a", until=START + 10)], "root")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        try:
            await ticks(clock, keeper, lambda: pool.placement.pinned(b"ann") is None, 10.0)
            await ticks(clock, keeper, lambda: "nothing was changed" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await ticks(clock, keeper, lambda: len(keeper.entries()) == 3)  # once there is room
        nursery.cancel_scope.cancel()


async def test_a_ring_that_cannot_be_built_is_refused(clock):
    async with keeping(settings=config(ring={"algorithm": "nginx"})) as keeper:
        book = keeper.book("ide")
        before = book.overlay
        with pytest.raises(Refused, match="same server"):
            await keeper.change("ide", [Add(name="d", address="10.0.0.1:4000")], "root")
        assert book.overlay is before


class TestChangedConfiguration:
    """The file is edited while the overlay says what it said."""

    async def test_weights_that_would_empty_the_ring_do_not_stop_the_start(self, tmp_path, clock, caplog):
        async with keeping(tmp_path) as keeper:
            await keeper.change("ide", [SetWeight(backend="a", weight=0.0), SetWeight(backend="b", weight=9.0)], "root")
        async with keeping(tmp_path, config({"a": 1.0})) as keeper, trio.open_nursery() as nursery:
            book = keeper.book("ide")
            assert book.ring.members == ("a",)
            assert "they are left out" in caplog.text
            caplog.clear()
            nursery.start_soon(keeper.run)
            await keeper.change("ide", [pin(keeper, b"ann", "a")], "root")
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(5.0)
            await trio.testing.wait_all_tasks_blocked()
            assert not [record for record in caplog.records if record.levelname == "ERROR"]
            nursery.cancel_scope.cancel()

    async def test_a_backend_added_live_is_written_into_the_file(self, tmp_path, clock, caplog):
        async with keeping(tmp_path) as keeper:
            await keeper.change("ide", [Add(name="d", address="10.9.9.9:1", weight=3.0)], "root")
        settings = config({"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.5})
        async with keeping(tmp_path, settings) as keeper:
            book = keeper.book("ide")
            assert book.ring.weights["d"] == 1.5
            assert str(book.pool.backends["d"].address) == "10.0.0.4:4000"
            assert not [record for record in caplog.records if record.levelname == "ERROR"]
            await keeper.change("ide", [Remove(name="d")], "root")
            assert "d" not in book.ring.members

    async def test_only_drained_backends_are_left(self, tmp_path, clock, caplog):
        async with keeping(tmp_path) as keeper:
            await keeper.change("ide", [SetState(backend="a", state="drain")], "root")
        async with keeping(tmp_path, config({"a": 1.0})) as keeper:
            assert "no backend is ready" in caplog.text
            assert list(keeper.book("ide").pool.candidates(b"ann", 0.0)) == []
            await keeper.change("ide", [SetState(backend="a", state="ready")], "root")
            assert [each.reason for each in keeper.book("ide").pool.candidates(b"ann", 0.0)] == ["owner"]

    async def test_pins_on_a_backend_that_is_gone_do_not_count(self, tmp_path, clock):
        async with keeping(tmp_path) as keeper:
            await keeper.change("ide", [pin(keeper, b"ann", "c")], "root")
        async with keeping(tmp_path, config({"a": 1.0, "b": 1.0})) as keeper:
            book = keeper.book("ide")
            assert book.pool.placement.home(b"ann") == book.ring.owner(b"ann")
        async with keeping(tmp_path) as keeper:
            assert keeper.book("ide").pool.placement.home(b"ann") == "c"

    async def test_it_is_noted(self, tmp_path, clock):
        async with keeping(tmp_path) as keeper:
            first = keeper.book("ide").ring.fingerprint
        async with keeping(tmp_path, config({"a": 1.0})) as keeper:
            last = keeper.entries()[-1]
            assert (last.before, last.after) == (first, keeper.book("ide").ring.fingerprint)
            assert [backend.name for backend in last.config.backends] == ["a"]
        async with keeping(tmp_path, config({"a": 1.0})) as keeper:
            assert len(keeper.entries()) == 2


async def test_a_large_ring_is_replaced_without_a_long_stop(tmp_path):
    """While the ring of 500 backends is built and swapped, everybody else gets their turn."""
    settings = config({f"ide-{number:03d}": 1.0 for number in range(500)})
    async with keeping(tmp_path, settings) as keeper:
        await keeper.change("ide", [SetWeight(backend="ide-007", weight=2.0)], "root")
        longest = 0.0
        async with trio.open_nursery() as nursery:

            async def watch():
                nonlocal longest
                last = time.perf_counter()
                while True:
                    await trio.lowlevel.checkpoint()
                    longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

            nursery.start_soon(watch)
            for weight in (3.0, 4.0):
                await keeper.change("ide", [SetWeight(backend="ide-007", weight=weight)], "root")
            nursery.cancel_scope.cancel()
        assert longest < 0.5, "sorting holds the interpreter lock for a while"


@pytest.mark.parametrize(
    ("ring", "weights"),
    [
        ({}, {"a": 0.75, "b": 0.0, "c": 1.0}),
        ({"algorithm": "haproxy"}, {"a": 1.0, "b": 0.0, "c": 1.0}),
        ({"algorithm": "nginx"}, {"a": 1.0, "b": 1.0, "c": 1.0}),
    ],
)
async def test_agents_scale_weights_of_the_kind_the_ring_knows(clock, ring, weights):
    async with keeping(settings=config(ring=ring, health={"type": "tcp"})) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        nursery.start_soon(keeper.run)
        for name, percent in {"a": 75, "b": 0}.items():
            book.health[name] = HealthTracker(book.config.health)
            book.health[name].heed(AgentReport(percent=percent))
        await ticks(clock, keeper, lambda: book.weights == weights)
        entry = await keeper.change("ide", [SetWeight(backend="c", weight=2.0)], "root")
        assert book.weights == {**weights, "c": 2.0}
        assert entry.after == book.ring.fingerprint == (await keeper.ring_of(book, book.overlay)).fingerprint
        nursery.cancel_scope.cancel()


async def test_agents_cannot_leave_users_without_anyone(clock):
    async with keeping(settings=config(health={"type": "tcp"})) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        await keeper.change("ide", [SetState(backend="c", state="drain")], "root")
        nursery.start_soon(keeper.run)
        for name in "ab":
            book.health[name] = HealthTracker(book.config.health)
            book.health[name].heed(AgentReport(percent=0))
        await ticks(clock, keeper, lambda: True)
        await wait_all_tasks_blocked()
        assert book.weights == {"a": 1.0, "b": 1.0, "c": 1.0}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("ring", "beginning"), [({}, 0.05), ({"algorithm": "haproxy", "hash_type": "consistent"}, 1.0)]
)
async def test_a_backend_that_returns_gets_its_points_back_by_and_by(clock, ring, beginning):
    weights = dict.fromkeys("abc", 2.0 if ring else 1.0)
    settings = config(weights, ring=ring, health={"type": "tcp", "fall": 1, "rise": 1, "slow_start": "20s"})
    async with keeping(settings=settings) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        health = book.health["a"] = HealthTracker(book.config.health)
        book.pool.stand({"b": WELL, "c": WELL})
        nursery.start_soon(keeper.run)

        def probed(ok):
            health.observe(Result(ok, ""), trio.current_time())
            book.pool.stand({"a": health.stand(trio.current_time())})

        probed(True)
        await ticks(clock, keeper, lambda: book.weights == weights)
        probed(False)
        await ticks(clock, keeper, lambda: book.weights["a"] == beginning)
        assert book.pool.placement.weights == weights, "of the pool it is as much as before"
        probed(True)
        seen = []
        for _ in range(21):
            await wait_all_tasks_blocked()
            clock.jump(TICK)
            wanted = 2.0 * health.warmth(trio.current_time()) if ring else health.warmth(trio.current_time())
            await until(lambda wanted=wanted: book.weights["a"] == (ceil(wanted) if ring else wanted))
            seen.append(book.weights["a"])
        assert seen == sorted(seen)
        assert seen[-1] == weights["a"]
        assert len(set(seen)) == (2 if ring else 19)
        nursery.cancel_scope.cancel()


async def test_the_map_of_haproxy_is_made_without_those_that_are_out(clock):
    """As haproxy's: whoever takes over from it has to move everybody alike, and without a slow start."""
    settings = config(ring={"algorithm": "haproxy"}, health={"type": "tcp", "fall": 1, "rise": 1, "slow_start": "20s"})
    async with keeping(settings=settings) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        health = book.health["a"] = HealthTracker(book.config.health)
        book.pool.stand({"b": WELL, "c": WELL})
        nursery.start_soon(keeper.run)
        for ok, weight in ((True, 1.0), (False, 0.0), (True, 1.0)):
            health.observe(Result(ok, ""), trio.current_time())
            book.pool.stand({"a": health.stand(trio.current_time())})
            await ticks(clock, keeper, lambda weight=weight: book.weights == {"a": weight, "b": 1.0, "c": 1.0})
            assert book.pool.placement.ring.fingerprint == build(book.config, {"a": weight}).fingerprint
        nursery.cancel_scope.cancel()


async def test_in_panic_nobody_starts_slowly(clock):
    settings = config(health={"type": "tcp", "fall": 1, "slow_start": "20s", "panic_threshold": 0.5})
    async with keeping(settings=settings) as keeper, trio.open_nursery() as nursery:
        book = keeper.book("ide")
        nursery.start_soon(keeper.run)
        book.pool.stand({"b": WELL, "c": WELL})
        for name, share in (("a", 0.05), ("b", 1.0)):
            health = book.health[name] = HealthTracker(book.config.health)
            health.observe(Result(False, ""), trio.current_time())
            book.pool.stand({name: health.stand(trio.current_time())})
            await ticks(clock, keeper, lambda share=share: book.weights["a"] == share)
        assert book.pool.panic
        assert book.weights == {"a": 1.0, "b": 1.0, "c": 1.0}
        nursery.cancel_scope.cancel()
