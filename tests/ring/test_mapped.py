"""haproxy's map, against its rule carried out slot by slot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_pools import pool

from balancer.ring import mapped
from balancer.ring.build import build
from balancer.ring.mapped import fill
from balancer.ring.table import joint


def fill_by_definition(weights):
    length = sum(weights)
    scores = [0] * len(weights)
    slots = []
    for _ in range(length):
        best, largest = 0, None
        for index, weight in enumerate(weights):
            scores[index] += weight
            value = ((scores[index] + length) % 2**32) // length
            if largest is None or value > largest:
                best, largest = index, value
        scores[best] -= length
        slots.append(best)
    return slots


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_fill(weights):
    assert fill(weights) == fill_by_definition(weights)


@pytest.mark.parametrize(("weights", "slots"), [([1, 2, 1], "abbc"), ([5, 1, 1], "aaabaac"), ([3], "aaa")])
def test_fill_by_hand(weights, slots):
    assert "".join("abc"[index] for index in fill(weights)) == slots


def test_only_the_ratio_of_weights_counts():
    one = build(pool({"a": 1, "b": 2}, {"algorithm": "haproxy"}))
    two = build(pool({"a": 50, "b": 100}, {"algorithm": "haproxy"}))
    assert one.fingerprint == two.fingerprint
    assert len(two.slots) == 3


def test_a_large_map_is_not_compared_with_the_map_without_each_backend(monkeypatch):
    """It would take 10 s of CPU time for 500 backends."""
    weights = {f"ide-{number:03}": (1, 0.3, 2)[number % 3] for number in range(100)}
    ring = build(pool(weights, {"algorithm": "haproxy"}))
    monkeypatch.setattr(mapped, "fill", None)
    for name, parts in ring.succession().items():
        assert sum(parts.values()) == pytest.approx(ring.point_counts()[name] / len(ring.slots))
        assert parts.keys() == ring.weights.keys() - {name}


slots = st.lists(st.sampled_from("abc"), min_size=1, max_size=30).map(tuple)


@given(first=slots, second=slots)
def test_joint_counts_every_hash(first, second):
    total = len(first) * len(second)
    counted = {}
    for value in range(total):
        pair = first[value % len(first)], second[value % len(second)]
        counted[pair] = counted.get(pair, 0) + 1
    assert joint(first, second) == pytest.approx({pair: count / total for pair, count in counted.items()})


def test_prepared_tables_are_found_ready(monkeypatch):
    ring = build(pool(dict.fromkeys("abcdefgh", 1), {"algorithm": "haproxy"}))
    ring.prepare(["b", "e", "gone"])
    monkeypatch.setattr("balancer.ring.mapped.fill", None)  # building one more would fail
    for number in range(200):
        order = ring.order(b"t%d" % number)
        while next(order) in {"b", "e"}:
            pass


def test_only_so_many_tables_are_prepared(monkeypatch):
    built = []
    ring = build(pool(dict.fromkeys("abcdefgh", 1), {"algorithm": "haproxy"}))
    monkeypatch.setattr("balancer.ring.mapped.fill", lambda weights: built.append(weights) or fill(weights))
    ring.prepare("abcdefgh")
    assert len(built) == 16
