"""Floods of messages are cut down, and what is left out is told."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.daemon.log_limit import BURST, WINDOW, Limited


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []
        self.closed = False

    def emit(self, record):
        self.records.append(record)

    def close(self):
        self.closed = True
        super().close()


class Rig:
    def __init__(self):
        self.now = 0.0
        self.kept = Kept()
        self.limited = Limited(self.kept, lambda: self.now)

    def say(self, text="it is gone", *args, **more):
        made = logging.LogRecord("balancer.test", logging.WARNING, "x.py", 1, text, args, None)
        vars(made).update(more)
        self.limited.handle(made)

    @property
    def said(self):
        return [record.getMessage() for record in self.kept.records]


@pytest.fixture
def rig():
    return Rig()


def test_a_flood(rig):
    for n in range(BURST + 7):
        rig.say("%s is gone", n)
    assert rig.said == [*(f"{n} is gone" for n in range(BURST)), "more of these are left out for 10 s: %s is gone"]
    rig.say("something else")
    assert rig.said[-1] == "something else"
    rig.now += WINDOW
    rig.say("%s is gone", "another")
    assert rig.said[-2:] == ["7 similar messages were left out: %s is gone", "another is gone"]
    summary = rig.kept.records[-2]
    assert (summary.levelname, summary.name) == ("WARNING", "balancer.test")


def test_backends_do_not_drown_each_other(rig):
    for _ in range(BURST + 1):
        rig.say(backend="a")
    rig.say(backend="b")
    assert len(rig.said) == BURST + 2
    rig.now += WINDOW
    rig.say("something else")
    assert rig.kept.records[-2].backend == "a"


def test_the_end_tells_the_rest(rig):
    for _ in range(BURST + 3):
        rig.say()
    rig.limited.close()
    assert rig.said[-1] == "3 similar messages were left out: it is gone"
    assert rig.kept.closed


@given(st.lists(st.tuples(st.floats(0, 2 * WINDOW), st.sampled_from("ab")), max_size=200))
def test_nothing_is_lost_without_a_word(steps):
    rig = Rig()
    for wait, template in steps:
        rig.now += wait / 10
        rig.say(template)
    rig.limited.close()
    counted = [text for text in rig.said if not text.startswith("more of these")]
    told = sum(int(text.split()[0]) if "left out" in text else 1 for text in counted)
    assert told == len(steps)


def test_strange_messages_cost_no_memory(rig):
    for n in range(5000):
        rig.say(f"{n}")
    assert len(rig.limited._windows) <= 1000
    assert len(rig.said) == 5000
