"""How long backends stay out: it grows, it is forgotten, and it never exceeds what was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.pool import HealthConfig
from balancer.health.availability import Availability
from balancer.health.ejection import Ejection
from balancer.health.results import Result, Verdict
from balancer.health.tracker import SLOW_STEPS, HealthTracker

BASE, MOST = 30.0, 300.0
GOOD, BAD = Result(True, "200"), Result(False, "status 500")


def test_it_grows_to_its_limit_and_falls_while_it_behaves():
    ejection, now, spans = Ejection(), 1000.0, []
    for _ in range(12):
        ejection.eject("why", now, BASE, MOST)
        spans.append(ejection.until - now)
        now = ejection.until
    assert spans == [30.0 * n for n in range(1, 11)] + [300.0, 300.0]
    assert not ejection.out(now)
    assert ejection.level(now + 2 * MOST, MOST) == ejection.level(now, MOST) - 2
    assert ejection.level(now + 100 * MOST, MOST) == 0
    ejection.eject("why", now + 100 * MOST, BASE, MOST)
    assert ejection.until == now + 100 * MOST + BASE


def test_the_first_time_down_costs_nothing_and_further_ones_do():
    ejection = Ejection()
    ejection.went_down(0.0, BASE, MOST)
    assert not ejection.out(0.0)
    ejection.went_down(10.0, BASE, MOST)
    assert (ejection.out(38.9), ejection.out(40.0)) == (True, False)
    assert ejection.why == "kept out: it went down 2 times lately"


def test_time_out_is_no_good_behaviour():
    ejection = Ejection()
    ejection.eject("why", 0.0, BASE, MOST)
    ejection.returned(3600.0)  # probes kept it out for longer
    assert ejection.level(3600.0, MOST) == 1.0
    assert ejection.level(3600.0 + MOST, MOST) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans()), max_size=50), st.floats(0.1, 100), st.floats(0.1, 1000))
def test_whatever_happens_it_is_out_for_so_long_at_most(events, base, most):
    ejection, now = Ejection(), 0.0
    for wait, real in events:
        now += wait
        before = ejection.until
        (ejection.went_down if not real else lambda *a: ejection.eject("why", *a))(now, base, most)
        assert before <= ejection.until <= max(before, now + most)
        assert not real or ejection.until >= now + min(base, most)
        assert 0 <= ejection.level(now, most) <= most / base + 1


class TestInHealth:
    def health(self, **settings):
        health = HealthTracker(HealthConfig(rise=1, fall=1, **settings))
        health.restore(Verdict.UP, 0.0, "")
        return health

    def flap(self, health, now):
        health.observe(BAD, now)
        health.stand(now)
        health.observe(GOOD, now + 1)
        return health.stand(now + 1)

    def test_a_host_that_flaps_is_kept_out_with_its_users_let_in(self):
        health = self.health()
        assert self.flap(health, 0.0) == Availability()
        availability = self.flap(health, 10.0)
        assert (availability.reason, availability.down, availability.clear, availability.out) == (
            "",
            False,
            False,
            True,
        )
        assert availability.ill(tunnels=False) == "kept out: it went down 2 times lately"
        assert availability.ill(tunnels=True) == ""
        assert health.stand(39.0) == availability
        assert health.stand(40.0) == Availability()
        assert health.returned == 40.0

    def test_the_agents_word_for_down_does_not_count_as_flapping(self):
        health = self.health()
        for n in range(5):
            health.agent_down = bool(n % 2)
            assert health.stand(float(n)).ejected == ""

    def test_a_slow_start_begins_while_it_is_out(self):
        health = self.health(slow_start="20s")
        assert health.warmth(0.0) == 1.0, "the first time there is nothing to be slow about"
        health.observe(BAD, 0.0)
        health.stand(0.0)
        assert health.warmth(5.0) == 1 / SLOW_STEPS
        health.observe(GOOD, 10.0)
        health.stand(10.0)
        shares = [health.warmth(10.0 + n / 10) for n in range(210)]
        assert shares == sorted(shares)
        assert len(set(shares)) == SLOW_STEPS
        assert (shares[0], shares[9], shares[10], shares[200]) == (0.05, 0.05, 0.1, 1.0)

    def test_without_one_all_points_are_there_at_once(self):
        health = self.health()
        self.flap(health, 0.0)
        assert health.warmth(1.0) == 1.0

    @pytest.mark.parametrize("first", [GOOD, BAD])
    def test_a_new_backend_is_no_return(self, first):
        health = HealthTracker(HealthConfig(slow_start="20s"))
        assert health.stand(0.0).reason == "not probed yet"
        health.observe(first, 1.0)
        health.stand(1.0)
        assert health.returned is None
        assert not health.ejection.out(1.0)
