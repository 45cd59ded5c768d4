"""How a backend is: against a model that remembers every probe, and by what it must never do."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from balancer.config.pool import BackendConfig, BackendHealthConfig, HealthConfig, PoolConfig
from balancer.health.results import AgentReport, Result, Verdict
from balancer.health.tracker import HealthTracker, judged_by, probed

GOOD, BAD = Result(True, "200"), Result(False, "connection refused")
REQUESTED_STATES = {"": "", "degraded": "degraded", "drain": "asks to be drained", "maint": "asks for maintenance"}


class Machine(RuleBasedStateMachine):
    """The model keeps all probes and works out the state from them each time."""

    @initialize(rise=st.integers(1, 4), fall=st.integers(1, 4), start=st.sampled_from(list(Verdict)))
    def begin(self, rise, fall, start):
        self.config = HealthConfig(rise=rise, fall=fall, interval="2s", fast_interval="1s", down_interval="5s")
        self.health = HealthTracker(self.config)
        self.start = start
        self.probes = []
        self.requested_state = ""
        self.agent = AgentReport(100, "ready", False)
        self.now = 100.0
        self.began = None
        if start is not Verdict.UNKNOWN:
            self.began = 42.0
            self.health.restore(start, 42.0, "as before")

    def expected(self):
        """Only runs of equal probes count, and only against the state they meet."""
        state, run, changes = self.start, 0, 0
        for ok in self.probes:
            speaks_for = Verdict.UP if ok else Verdict.DOWN
            run = run + 1 if speaks_for is not state else 0
            needed = 1 if state is Verdict.UNKNOWN else self.config.rise if ok else self.config.fall
            if run >= needed:
                state, run, changes = speaks_for, 0, changes + 1
        return state, run, changes

    @rule(result=st.builds(Result, st.booleans(), st.just("text"), st.sampled_from(["", "degraded", "drain"])))
    def probe(self, result):
        before = self.expected()
        self.now += 1
        changed = self.health.observe(result, self.now, 0.25)
        self.probes.append(result.ok)
        if result.ok:
            self.requested_state = result.requested_state
        after = self.expected()
        assert changed == (before[2] != after[2])
        if changed:
            self.began = self.now

    @rule(
        report=st.builds(
            AgentReport,
            st.none() | st.integers(0, 100),
            st.none() | st.sampled_from(["ready", "drain", "maint"]),
            st.none() | st.booleans(),
        )
    )
    def agent_speaks(self, report):
        self.health.heed(report)
        before = self.agent
        self.agent = AgentReport(
            before.percent if report.percent is None else report.percent,
            report.mode or before.mode,
            before.down if report.down is None else report.down,
        )

    @invariant()
    def it_agrees(self):
        if not hasattr(self, "health"):
            return
        health = self.health
        state, run, changes = self.expected()
        assert (health.state, health.streak, health.checks.changes) == (state, run, changes)
        assert (health.checks.passed, health.checks.failed) == (sum(self.probes), len(self.probes) - sum(self.probes))
        assert health.since == self.began
        assert (health.percent, health.agent_down) == (self.agent.percent, self.agent.down)
        requested_state = self.requested_state if self.agent.mode == "ready" else self.agent.mode
        assert health.requested_state == requested_state
        availability = health.stand(self.now)
        assert availability.requested_state == requested_state
        assert availability.down == (state is Verdict.DOWN or self.agent.down)
        assert (not availability.reason) == (state is Verdict.UP and not self.agent.down)
        assert bool(availability.ejected) == health.ejection.out(self.now)
        assert not availability.ejected or changes > 2, "what goes down once is not kept out"
        assert availability.clear == (not availability.reason and not availability.ejected and not requested_state)

    @precondition(lambda self: len(self.probes) > 1)
    @rule(seed=st.integers())
    def the_next_probe(self, seed):
        state, run, _ = self.expected()
        interval = 1.0 if run else 5.0 if state is Verdict.DOWN else 2.0
        assert interval * 0.9 <= self.health.delay(Random(seed)) <= interval * 1.1


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.floats(0.5, 8), st.floats(0.5, 8), st.integers(1, 4), st.integers(1, 4), st.integers())
@settings(max_examples=60)
def test_a_host_that_flaps_for_an_hour(up, down, rise, fall, seed):
    """No change comes without its run of probes, and so none sooner than such a run takes."""
    health = HealthTracker(HealthConfig(interval="2s", fast_interval="1s", rise=rise, fall=fall))
    random, now, history, changes = Random(seed), 0.0, [], []
    while now < 3600:
        history.append(now % (up + down) < up)
        if health.observe(GOOD if history[-1] else BAD, now):
            needed = 1 if not changes else rise if history[-1] else fall
            assert history[-needed:] == [history[-1]] * needed
            assert not changes or health.state is not changes[-1][1]
            if len(changes) > 1:
                assert now - changes[-1][0] >= (2 + (needed - 1)) * 0.9
            changes.append((now, health.state))
        now += health.delay(random)
    assert len(changes) == health.checks.changes


@pytest.mark.parametrize(("state", "result", "other"), [(Verdict.UP, BAD, GOOD), (Verdict.DOWN, GOOD, BAD)])
def test_an_odd_probe_now_and_then_changes_nothing(state, result, other):
    health = HealthTracker(HealthConfig(rise=3, fall=3))
    health.restore(state, 0.0, "")
    for n in range(1000):
        assert not health.observe(other if n % 3 == 2 else result, float(n))
    assert health.state is state


@given(st.integers())
def test_probes_of_many_hosts_spread(seed):
    """All were probed in one moment; then they fill the interval, and go on filling it."""
    random = Random(seed)
    hosts = [HealthTracker(HealthConfig(interval="10s", jitter=0.1)) for _ in range(200)]
    due = [0.0] * 200
    for lap in range(4):
        for number, health in enumerate(hosts):
            health.observe(GOOD, due[number])
            due[number] += health.delay(random)
        in_each = Counter(int(when % 10) for when in due)
        assert max(in_each.values()) < 60, f"after lap {lap}: {in_each}"


def test_without_jitter_the_pace_is_even():
    health = HealthTracker(HealthConfig(interval="10s", jitter=0.0))
    health.observe(GOOD, 0.0)
    health.observe(GOOD, 1.0)
    assert health.delay(Random(1)) == 10.0


def test_one_probe_decides_about_a_new_backend_and_none_about_a_known_one():
    for result, state in [(GOOD, Verdict.UP), (BAD, Verdict.DOWN)]:
        health = HealthTracker(HealthConfig(rise=5, fall=5))
        assert health.stand(0.0).reason == "not probed yet"
        assert health.observe(result, 7.0)
        assert (health.state, health.since) == (state, 7.0)
    health = HealthTracker(HealthConfig(rise=2, fall=3))
    health.restore(Verdict.UP, -1000.0, "200")
    assert health.stand(0.0).clear
    assert [health.observe(BAD, float(n)) for n in range(3)] == [False, False, True]
    assert health.stand(0.0).reason == "unhealthy: connection refused"
    health.observe(GOOD, 3.0)
    assert health.stand(0.0).reason == "unhealthy: 1 of 2 probes passed"
    health.observe(GOOD, 4.0)
    assert health.stand(0.0).reason == ""


@pytest.mark.parametrize("requested_state", ["degraded", "drain"])
def test_a_wish_is_no_illness_and_lasts_until_the_next_good_answer(requested_state):
    health = HealthTracker(HealthConfig(fall=2))
    health.observe(Result(True, "200", requested_state), 1.0)
    assert (health.state, health.stand(0.0).reason, health.stand(0.0).clear) == (Verdict.UP, "", False)
    assert health.stand(0.0).unwilling(tunnels=False) == REQUESTED_STATES[requested_state]
    assert health.stand(0.0).unwilling(tunnels=True) == ""
    health.observe(BAD, 2.0)
    assert health.requested_state == requested_state
    health.observe(GOOD, 3.0)
    assert health.stand(0.0).clear
    assert health.stand(0.0).unwilling(tunnels=False) == ""


def test_what_an_agent_says():
    health = HealthTracker(HealthConfig())
    health.observe(Result(True, "200", "degraded"), 1.0)
    health.heed(AgentReport(mode="maint"))
    assert health.stand(0.0).unwilling(tunnels=True) == "asks for maintenance"
    health.heed(AgentReport(percent=75))
    assert (health.requested_state, health.percent) == ("maint", 75)
    health.heed(AgentReport(mode="ready"))
    assert health.requested_state == "degraded"
    health.heed(AgentReport(down=True))
    assert health.stand(0.0).down
    assert health.stand(0.0).reason == "unhealthy: its agent says down"
    health.observe(GOOD, 2.0)
    assert health.stand(0.0).down, "an answer to a probe does not overrule the agent"
    health.heed(AgentReport(down=False))
    assert health.stand(0.0).clear


def test_a_backend_may_be_judged_at_a_pace_of_its_own():
    own = BackendHealthConfig(interval="9s", fall=1)
    backends = (
        BackendConfig(name="a", address="10.0.0.1:1", health=own),
        BackendConfig(name="b", address="10.0.0.2:1"),
        BackendConfig(name="c", address="10.0.0.3:1", check=False),
    )
    pool = PoolConfig(name="ide", health=HealthConfig(type="tcp", path="/x", rise=4), backend=backends)
    a = judged_by(pool, "a")
    assert (a.interval, a.fall, a.rise, a.path) == (9.0, 1, 4, "/x")
    assert judged_by(pool, "b") == judged_by(pool, "added at run time") == pool.health
    assert probed(pool, "abcd") == ["a", "b", "d"]
    assert not probed(pool.model_copy(update={"health": HealthConfig()}), ["a"])


def test_answers_and_agent_ask_for_shares_of_the_weight():
    health = HealthTracker(HealthConfig())
    health.observe(Result(True, "ok", percent=50), 1.0)
    assert health.weight_percent == 50
    health.heed(AgentReport(percent=50))
    assert health.weight_percent == 25
    health.observe(Result(False, "refused"), 2.0)
    assert health.weight_percent == 25
    health.observe(Result(True, "ok"), 3.0)
    assert health.weight_percent == 50
