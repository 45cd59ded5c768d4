"""Outliers: who is found, who is not, and whom nobody can frame."""

import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.pool import HealthConfig
from balancer.health.outliers import Outliers
from balancer.health.results import Verdict
from balancer.health.tally import KEPT, Tally
from balancer.health.tracker import HealthTracker

NAMES = [f"host-{n}" for n in range(10)]
LOOK = 0.5


def tally(answers=0, failing=()):
    """So many answers, and the failures of these clients, each by a token of its own."""
    made = Tally()
    made.answers = answers
    for client in failing:
        made.fail(f"address of {client}", f"token of {client}")
    return made


def clients(number):
    return [f"client-{n}" for n in range(number)]


class Ward:
    """A pool that is looked at every half second."""

    def __init__(self, names=NAMES, **passive):
        passive = {"mode": "on", "consecutive": 5, "failure_rate": 0.5, "interval": "10s", "clients": 3, **passive}
        config = HealthConfig(type="tcp", ejection_time="30s", max_ejection_time="5m", passive=passive)
        self.outliers = Outliers(config)
        self.healths = {name: HealthTracker(config) for name in names}
        for health in self.healths.values():
            health.restore(Verdict.UP, 0.0, "")
        self.now = 100.0

    def look(self, **tallies):
        self.now += LOOK
        news = {name: tallies.get(name.replace("-", "_"), Tally()) for name in self.healths}
        return [(each.backend, each.why, each.outcome) for each in self.outliers.look(news, self.healths, self.now)]

    def out(self):
        return [name for name, health in self.healths.items() if health.stand(self.now).out]


class TestInARow:
    def test_enough_of_enough_clients(self):
        ward = Ward()
        assert ward.look(host_0=tally(0, clients(6))) == [], "two of six are left out"
        assert ward.look(host_0=tally(0, ["one more"])) == [("host-0", "7 failures in a row", "ejected")]
        assert ward.out() == ["host-0"]
        availability = ward.healths["host-0"].stand(ward.now)
        assert (availability.ejected, availability.down) == ("ejected: 7 failures in a row", False)

    def test_an_answer_begins_anew(self):
        ward = Ward(failure_rate=0.0)
        for _ in range(100):
            assert ward.look(host_0=tally(0, clients(6))) == []
            assert ward.look(host_0=tally(1)) == []

    def test_zero_is_off(self):
        ward = Ward(consecutive=0, interval="1h")
        assert [ward.look(host_0=tally(0, clients(10))) for _ in range(3)] == [[]] * 3


class TestShare:
    def run(self, ward, answers, failing):
        """An interval with so much in each look."""
        return [found for _ in range(21) for found in ward.look(host_0=tally(answers, failing))]

    def test_half_of_what_is_asked(self):
        assert self.run(Ward(), 2, clients(4)) == [("host-0", "50% of 84 requests failed", "ejected")]
        assert self.run(Ward(), 3, clients(4)) == [], "of two clients nothing counts, so it is less than half"

    def test_too_few_requests_say_nothing(self):
        ward = Ward(consecutive=0, clients=1)
        assert ward.look(host_0=tally(1, clients(18))) == []
        assert [found for _ in range(20) for found in ward.look()] == []
        ward.look(host_0=tally(1, clients(19)))
        assert [found for _ in range(20) for found in ward.look()] == [
            ("host-0", "95% of 20 requests failed", "ejected")
        ]

    def test_zero_is_off(self):
        assert self.run(Ward(failure_rate=0.0), 1, clients(9)) == []


class TestNobodyCanBeFramed:
    @given(
        st.lists(st.tuples(st.integers(0, 3), st.lists(st.sampled_from(["eve", "mallory"]), max_size=200)), max_size=60)
    )
    def test_by_fewer_than_it_takes(self, looks):
        ward = Ward()
        for answers, failing in looks:
            assert ward.look(host_0=tally(answers, failing)) == []

    @pytest.mark.parametrize("part", ["token", "address"])
    def test_by_one_with_many_tokens_or_many_addresses(self, part):
        ward = Ward()
        for look in range(100):
            made = Tally()
            for n in range(500):
                many = f"{look}-{n}"
                made.fail("the one" if part == "token" else many, many if part == "token" else "the one")
            assert ward.look(host_0=made) == []

    def test_those_who_fail_by_chance_do_not_make_up_for_the_rest(self):
        """One client fails all the time, others now and then, as they do everywhere."""
        ward = Ward()
        for look in range(200):
            failing = ["eve"] * 500 + ([f"client-{look}"] if look % 4 == 0 else [])
            assert ward.look(host_0=tally(50, failing)) == []

    def test_where_all_come_from_one_address(self):
        ward = Ward(clients=1)
        assert ward.look(host_0=tally(0, ["all of them"] * 5)) == [("host-0", "5 failures in a row", "ejected")]


class TestLimits:
    def test_a_share_of_the_pool_may_be_out(self):
        ward = Ward(max_ejected=0.3)
        found = ward.look(**{name.replace("-", "_"): tally(0, clients(9)) for name in NAMES})
        assert Counter(outcome for *_, outcome in found) == {"ejected": 3, "limit": 7}
        assert len(ward.out()) == 3
        assert ward.healths["host-9"].checks.ejections == {"limit": 1}
        assert ward.look(host_9=tally(0, clients(9))) == [], "it is said once, not at every look"

    def test_one_may_always_and_the_last_never(self):
        ward = Ward(["host-0", "host-1"], max_ejected=0.01)
        assert ward.look(host_0=tally(0, clients(9)))[0][2] == "ejected"
        assert ward.look(host_1=tally(0, clients(9)))[0][2] == "limit"
        alone = Ward(["host-0"])
        assert alone.look(host_0=tally(0, clients(9)))[0][2] == "limit"
        ill = Ward(["host-0", "host-1"])
        ill.healths["host-1"].agent_down = True
        assert ill.look(host_0=tally(0, clients(9)))[0][2] == "limit"

    def test_a_dry_run_counts_what_would_have_been_done(self):
        wet, dry = Ward(), Ward(mode="dry_run")
        counts = []
        for ward in (wet, dry):
            found = [each for _ in range(2000) for each in ward.look(host_0=tally(0, clients(9)))]
            counts.append(len(found))
            assert {outcome for *_, outcome in found} == {"ejected" if ward is wet else "dry_run"}
        assert counts[0] == counts[1] == 8
        assert dry.out() == []
        assert dry.healths["host-0"].checks.ejections == {"dry_run": 8}

    def test_it_stays_out_for_longer_each_time(self):
        ward, spans = Ward(), []
        for _ in range(3):
            assert ward.look(host_0=tally(0, clients(9)))
            began = ward.now
            while ward.out():
                failing = clients(9) if ward.now - began < 20 else ()
                assert ward.look(host_0=tally(0, failing)) == [], "what is out is not judged"
            spans.append(ward.now - began)
        assert spans == pytest.approx([30, 60, 90], abs=2)

    def test_what_probes_hold_for_down_is_not_judged(self):
        ward = Ward()
        ward.healths["host-0"].agent_down = True
        assert ward.look(host_0=tally(0, clients(9))) == []

    def test_backends_come_and_go(self):
        ward = Ward()
        ward.look(host_0=tally(0, clients(6)))
        del ward.healths["host-0"]
        ward.look()
        ward.healths["host-0"] = ward.healths["host-1"]
        assert ward.look(host_0=tally(0, clients(6))) == [], "what an earlier one of that name did is forgotten"


class TestTally:
    @given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=600), st.integers(0, 5))
    def test_who_fails_most_is_known_and_never_with_too_little(self, failures, left_out):
        made = Tally()
        for address, token in failures:
            made.fail(str(address), str(token))
        assert made.failures == len(failures)
        for seen, part in ((made.addresses, 0), (made.tokens, 1)):
            true = Counter(str(pair[part]) for pair in failures)
            assert len(seen) <= KEPT
            assert sum(seen.values()) == len(failures)
            for who, times in true.items():
                assert seen.get(who, 0) >= times or times <= len(failures) / KEPT
            most = sum(times for _, times in true.most_common(left_out))
            assert 0 <= made.failures_beyond(left_out) <= len(failures) - most

    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), max_size=100))
    def test_those_of_several_processes_add_up(self, failures):
        whole, parts = Tally(), [Tally() for _ in range(3)]
        for who, process in failures:
            whole.fail(str(who), str(who)), parts[process].fail(str(who), str(who))
            whole.answers += 1
            parts[process].answers += 1
        merged = Tally()
        for part in parts:
            merged.add(pickle.loads(pickle.dumps(part)))
        assert (merged.answers, merged.failures) == (whole.answers, whole.failures)
        assert merged.addresses == whole.addresses
        assert [merged.failures_beyond(n) for n in range(4)] == [whole.failures_beyond(n) for n in range(4)]
