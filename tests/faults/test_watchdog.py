"""Who is killed: the hung and the endless, never the starved. On a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.daemon.watchdog import BUSY_FACTOR, FIRST_HEARTBEAT, LONGEST_STEP, LOOK_EVERY, CpuUse, Watchdog

HANG = 10.0


class Process:
    """A process that is watched, with the time and what it had of the processors."""

    def __init__(self, hang=HANG, beaten=True):
        self.now, self.ran, self.waited = 1000.0, 5.0, 1.0
        self.watchdog = Watchdog(hang, self.now)
        if beaten:
            self.watchdog.heartbeat(self.now)

    def goes_on(self, seconds, ran=0.0, waited=0.0, runnable=False, readable=True):
        """It has so much of each second, and is looked at as often as it should; how long until it is to be killed."""
        began = self.now
        while self.now < began + seconds and not self.watchdog.hung:
            self.now += LOOK_EVERY
            self.ran += ran * LOOK_EVERY
            self.waited += waited * LOOK_EVERY
            self.watchdog.look(self.now, CpuUse(self.ran, self.waited, runnable) if readable else None)
        return self.now - began


def test_the_hung_is_killed():
    process = Process()
    assert HANG <= process.goes_on(60) <= HANG + 3 * LOOK_EVERY
    assert process.watchdog.hung
    said = process.watchdog.report(process.now)
    assert said == f"no heartbeat for {process.now - 1000:.1f} s (CPU used 0.0 s, waiting for CPU 0.0 s)"


def test_the_hung_is_killed_where_the_kernel_does_not_tell():
    assert HANG <= Process().goes_on(60, readable=False) <= HANG + 3 * LOOK_EVERY


@pytest.mark.parametrize(
    "what",
    [{"runnable": True}, {"waited": 1.0}, {"ran": 0.1, "waited": 0.9}, {"ran": 0.001, "waited": 0.999}],
    ids=["held back by a quota", "waits", "a tenth", "a thousandth"],
)
def test_the_starved_is_not(what):
    process = Process()
    process.goes_on(300, **what)
    assert not process.watchdog.hung


def test_an_endless_loop_is_killed_in_the_end():
    process = Process()
    assert process.goes_on(600, ran=1.0, runnable=True) == pytest.approx(BUSY_FACTOR * HANG, abs=1)
    assert "CPU used 60.0 s" in process.watchdog.report(process.now)


def test_an_endless_loop_counts_by_its_own_time():
    assert Process().goes_on(6000, ran=0.5, waited=0.5, runnable=True) == pytest.approx(2 * BUSY_FACTOR * HANG, abs=1)


@pytest.mark.parametrize(("hang", "first"), [(HANG, FIRST_HEARTBEAT), (1.0, FIRST_HEARTBEAT), (100.0, 100.0)])
def test_the_first_heartbeat_may_take_longer(hang, first):
    process = Process(hang, beaten=False)
    assert process.goes_on(600) == pytest.approx(first, abs=1)
    assert process.watchdog.report(process.now).startswith(f"no first heartbeat for {first:.0f}.")
    process = Process(hang, beaten=False)
    process.watchdog.heartbeat(process.now)
    assert process.goes_on(600) == pytest.approx(hang, abs=1)


def test_a_supervisor_that_was_away_does_not_blame_its_children():
    process = Process()
    process.goes_on(1)
    for _ in range(10):  # stopped, starved, or asleep with the machine
        process.now += 3600
        process.watchdog.look(process.now, CpuUse(process.ran, process.waited, runnable=False))
    assert process.watchdog.silent <= 1 + 10 * LONGEST_STEP
    assert not process.watchdog.hung


def test_another_limit_holds_at_once():
    process = Process()
    process.goes_on(5)
    process.watchdog.hang = 2.0
    assert process.watchdog.hung


steps = st.tuples(
    st.floats(0, 20), st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans(), st.sampled_from([0, 0, 0, 1])
)


@given(st.lists(steps, max_size=60))
def test_never_killed_before_its_time(history):
    """Whatever happens: silence is at most the time that passed, less what it ran; a heartbeat forgives all."""
    now, ran, waited = 0.0, 0.0, 0.0
    watchdog = Watchdog(HANG, now)
    watchdog.heartbeat(now)
    heard, ran_then = now, ran
    for passed, running, waiting, runnable, readable, beats in history:
        now += passed
        ran += passed * running
        waited += passed * waiting * (1 - running)
        if beats:
            watchdog.heartbeat(now)
            heard, ran_then = now, ran
        watchdog.look(now, CpuUse(ran, waited, runnable) if readable and watchdog.quiet else None)
        assert 0 <= watchdog.silent <= now - heard + 1e-6
        assert watchdog.ran <= ran - ran_then + 1e-6
        if watchdog.hung:
            assert now - heard >= HANG - 1e-6


@given(st.floats(1, 100), st.floats(0.0, 0.9), st.floats(0.0, 1.0))
def test_always_killed_in_the_end(hang, ran, rest):
    """Whatever it has of each second, silent for the rest of it or not."""
    waited = (1 - ran) * rest
    process = Process(hang)
    silence = 1 - ran - waited
    bound = min(hang / silence if silence > 1e-3 else 1e9, BUSY_FACTOR * hang / ran if ran > 1e-3 else 1e9)
    if bound < 1e4:
        assert process.goes_on(1e5, ran, waited) <= bound + 2
        assert process.watchdog.hung
