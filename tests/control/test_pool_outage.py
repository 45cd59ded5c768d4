"""After an outage of a whole pool all users are where full weights put them; only a lone absentee returns slowly."""

import os

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from probed import hosting, status
from state import Kept, config, keeping, ticks
from test_prober import config as probed_config
from test_prober import probing
from trio.testing import MockClock, wait_all_tasks_blocked

from balancer.control.saved_counters import CounterFile, load, restore
from balancer.health.results import Result, Verdict
from balancer.overlay.overlay import SetState
from balancer.ring.build import build
from balancer.store.memory_file import MemoryFile

NAMES = "abcde"
SLOW = {
    "type": "tcp",
    "fall": 1,
    "rise": 1,
    "slow_start": "60s",
    "ejection_time": "100ms",
    "max_ejection_time": "100ms",
}
TOKENS = [b"user-%d" % number for number in range(200)]


@pytest.fixture
def clock():
    return MockClock()


class Hosts:
    """The health of all hosts of a pool, all up at first."""

    def __init__(self, pool_state):
        self.pool_state = pool_state
        for name in pool_state.backends:
            pool_state.begin_health(name)
            self.probe(name, ok=True)

    def probe(self, name, *, ok):
        health, now = self.pool_state.health[name], trio.current_time()
        health.observe(Result(ok, ""), now)
        self.pool_state.update_availability({name: health.stand(now)})

    def weights(self, now=1.7e9):
        return self.pool_state.live_weights(self.pool_state.overlay, now)


async def test_hosts_that_return_probes_apart_have_all_their_points(clock):
    full = dict.fromkeys(NAMES, 1.0)
    async with keeping(settings=config(full, health=SLOW)) as controller, trio.open_nursery() as nursery:
        hosts = Hosts(controller.pool_state("ide"))
        nursery.start_soon(controller.run)
        for name in NAMES:
            clock.jump(0.7)
            hosts.probe(name, ok=False)
        await ticks(clock, controller, lambda: hosts.pool_state.weights == full)
        for name in reversed(NAMES):
            await wait_all_tasks_blocked()
            clock.jump(2.0)
            hosts.probe(name, ok=True)
            assert hosts.weights() == full
        ring = build(hosts.pool_state.config, full)
        assert [hosts.pool_state.placement.home(token) for token in TOKENS] == [ring.owner(token) for token in TOKENS]
        nursery.cancel_scope.cancel()


async def test_one_that_returns_to_others_who_stayed_up_ramps_also_after_an_outage(clock):
    async with keeping(settings=config(dict.fromkeys("abc", 1.0), health=SLOW)) as controller:
        hosts = Hosts(controller.pool_state("ide"))
        hosts.probe("a", ok=False)
        assert hosts.weights() == {"a": 0.05, "b": 1.0, "c": 1.0}
        hosts.probe("a", ok=True)
        assert hosts.weights() == {"a": 0.05, "b": 1.0, "c": 1.0}
        for name in "bca":
            hosts.probe(name, ok=False)
        assert set(hosts.weights().values()) == {1.0}, "the ramp of a counts for nothing any more"
        for name in "ab":
            hosts.probe(name, ok=True)
        clock.jump(600.0)
        hosts.probe("c", ok=True)
        assert set(hosts.weights().values()) == {1.0}, "however late"
        clock.jump(1.0)
        hosts.probe("c", ok=False)
        hosts.probe("c", ok=True)
        assert hosts.weights() == {"a": 1.0, "b": 1.0, "c": 0.05}


async def test_a_host_that_takes_no_new_users_carries_nobody(clock):
    async with keeping(settings=config(dict.fromkeys("abc", 1.0), health=SLOW)) as controller:
        await controller.change("ide", [SetState(backend="c", state="drain")], "root")
        hosts = Hosts(controller.pool_state("ide"))
        for ok in (False, True):
            for name in "ab":
                hosts.probe(name, ok=ok)
        assert set(hosts.weights().values()) == {1.0}


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans())), st.permutations(NAMES), st.permutations(NAMES))
def test_whatever_happened_before_an_outage_ends_with_full_weights(before, going, coming):
    async def main():
        settings = config(dict.fromkeys(NAMES, 1.0), health={**SLOW, "panic_threshold": 0.0})
        async with keeping(settings=settings) as controller:
            hosts = Hosts(controller.pool_state("ide"))
            for name, ok in before:
                hosts.probe(name, ok=ok)
            for ok, names in ((False, going), (True, coming)):
                for name in names:
                    hosts.probe(name, ok=ok)
            assert set(hosts.weights().values()) == {1.0}

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("remembered", [None, Verdict.UP, Verdict.DOWN])
async def test_a_start_with_hosts_that_come_up_one_by_one(clock, tmp_path, remembered):
    """Whatever was known of them before, even that one is up that is not."""
    async with hosting(status(200)) as a, hosting(status(503)) as b:
        settings = probed_config({"a": a.address, "b": b.address}, slow_start="60s")
        if remembered is not None:
            known = f'{{"state": "{remembered}", "since": 1.0, "address": "{b.address}", "text": ""}}'
            (tmp_path / "health.json").write_text(f'{{"ide": {{"b": {known}}}}}')
        async with probing(settings, clock, tmp_path) as site:
            await site.probed("a", "b", times=4)
            assert (site.state("a"), site.state("b")) == (Verdict.UP, Verdict.DOWN)
            b.talk = status(200)
            await site.probed("a", "b", times=3)
            assert site.state("b") is Verdict.UP
            assert set(site.pool.live_weights(site.pool.overlay, 1.7e9).values()) == {1.0}
            b.talk = status(503)
            await site.probed("b", times=3)
            assert site.pool.live_weights(site.pool.overlay, 1.7e9)["b"] == 0.05


async def test_a_restart_of_control_is_no_start_of_the_daemon(clock):

    async with keeping(settings=config(dict.fromkeys("ab", 1.0), health=SLOW)) as controller:
        hosts = Hosts(controller.pool_state("ide"))
        hosts.probe("b", ok=False)
        memory = MemoryFile(os.memfd_create("test"))
        evictions = controller.evictions(None)
        CounterFile(memory, controller.registry, controller.pool_states, evictions).save()
        again = Kept(config(dict.fromkeys("ab", 1.0), health=SLOW), controller.journal, controller.wall)
        restore(load(memory.load()), again.pool_states, evictions)
        assert again.pool_state("ide").checks.keys() == {"a", "b"}
        assert not any(each.outage for each in again.pool_state("ide").checks.values())
        hosts.probe("a", ok=False)
        CounterFile(memory, controller.registry, controller.pool_states, evictions).save()
        restore(load(memory.load()), again.pool_states, evictions)
        assert all(each.outage for each in again.pool_state("ide").checks.values())
        os.close(memory._fd)
