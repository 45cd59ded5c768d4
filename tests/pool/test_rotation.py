"""Turns by weight: each backend has its share, at every moment, and equal ones follow each other in order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from balancer.pool.rotation import Rotation

WEIGHTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 256), min_size=1)


@given(WEIGHTS, st.integers(0, 600))
def test_everybody_has_their_share_at_every_moment(weights, turns):
    rotation, total = Rotation(weights), sum(weights.values())
    had = Counter(rotation.next() for _ in range(turns))
    for name, weight in weights.items():
        assert abs(had[name] - turns * weight / total) <= len(weights)


def test_equal_ones_follow_each_other_in_order():
    rotation = Rotation({"b": 3.0, "a": 3.0, "c": 3.0})
    assert [rotation.next() for _ in range(7)] == list("bacbacb")


def test_the_heavier_is_not_due_twice_in_a_row():
    rotation = Rotation({"a": 2.0, "b": 1.0, "c": 1.0})
    assert Counter(rotation.next() for _ in range(400)) == {"a": 200, "b": 100, "c": 100}
    turns = [rotation.next() for _ in range(40)]
    assert ("a", "a", "a") not in zip(turns, turns[1:], turns[2:], strict=False)
