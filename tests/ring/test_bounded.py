"""Bounded load keeps everyone below the bound, and its choices are those of the papers' and haproxy's rules."""

from math import ceil

import pytest
from bounded_oracle import bounded, capacities, haproxy_slots
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_pools import ALGORITHMS, TOKENS, pool

from balancer.ring.bounded import Bound
from balancer.ring.build import build

HAPROXY = {"algorithm": "haproxy", "hash_type": "consistent", "hash_balance_factor": 150}
weight_lists = st.lists(st.sampled_from([0.5, 1, 2, 3]), min_size=1, max_size=6)


def choose(ring, token, settings, load, usable):
    """Where a token goes."""
    bound = Bound(ring, settings, usable)
    return bound.choose(token, load.__getitem__, sum(load[name] for name in bound.counted))


def place_all(config, tokens, usable=None):
    """Loads after each token in turn went to its first candidate."""
    ring = build(config)
    load = dict.fromkeys(ring.members, 0)
    for token in tokens:
        load[choose(ring, token, config.ring, load, usable or ring.members)] += 1
    return ring, load


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
@pytest.mark.parametrize("bound", [1.0, 1.25])
def test_nobody_exceeds_the_bound(algorithm, bound):
    weights = {"a": 1, "b": 2, "c": 1, "d": 4}
    _, load = place_all(pool(weights, {**algorithm, "bound": bound}), TOKENS)
    assert sum(load.values()) == len(TOKENS)
    for name, weight in weights.items():
        assert load[name] <= ceil(bound * len(TOKENS) * weight / 8)


def test_off_by_default():
    config = pool(dict.fromkeys("abcd", 1))
    ring = build(config)
    load = {"a": 10**6, "b": 0, "c": 0, "d": 0}
    for token in TOKENS[:50]:
        assert choose(ring, token, config.ring, load, "abcd") == ring.owner(token)


@given(weights=weight_lists, loads=st.lists(st.integers(0, 50), min_size=6, max_size=6), token=st.binary(max_size=9))
def test_those_with_room_come_first_and_both_keep_the_order_of_the_ring(weights, loads, token):
    config = pool(dict(zip("abcdef", weights, strict=False)), {"bound": 1.25})
    ring = build(config)
    load = dict(zip(ring.members, loads, strict=False))
    usable = ring.members[: 1 + len(ring.members) // 2]
    found = list(bounded(ring, token, config.ring, load, usable))
    room = capacities(ring.weights, load, usable, 1.25)
    expected = [name for name in ring.order(token) if name in usable]
    assert found == sorted(expected, key=lambda name: load[name] >= room[name])
    assert load[found[0]] < room[found[0]]
    assert choose(ring, token, config.ring, load, usable) == found[0]


def test_capacities_by_hand():
    weights = {"a": 1.0, "b": 1.0, "c": 2.0}
    assert capacities(weights, {"a": 3, "b": 3, "c": 3}, "abc", 1.25) == {"a": 4, "b": 4, "c": 7}
    assert capacities(weights, {"a": 9, "b": 0, "c": 0}, "bc", 1.1) == {"b": 1, "c": 1}
    assert capacities({"a": 1.0}, {"a": 9}, "a", 1.1) == {"a": 11}


def test_haproxy_slots_by_hand():
    """40 streams and one more at 150 % make 62 slots; weights 1, 2, 1, 3 count in sixteenths, 112 in all."""
    weights = {"s0": 1.0, "s1": 2.0, "s2": 1.0, "s3": 3.0}
    load = {"s0": 5, "s1": 12, "s2": 6, "s3": 17}
    assert haproxy_slots(weights, load, ["s0", "s1", "s2", "s3"], 150) == {"s0": 8, "s1": 18, "s2": 9, "s3": 27}
    assert haproxy_slots(weights, dict.fromkeys(weights, 0), ["s0", "s1", "s2", "s3"], 150) == {
        "s0": 1,
        "s1": 1,
        "s2": 1,
        "s3": 1,
    }


@settings(max_examples=30)
@given(weights=st.lists(st.integers(1, 3), min_size=1, max_size=5), tokens=st.lists(st.binary(max_size=9), max_size=40))
def test_haproxy_walks_clockwise_from_the_nearest_point_of_a_usable_server(weights, tokens):
    config = pool(dict(zip("abcde", weights, strict=False)), HAPROXY)
    ring = build(config)
    down = ring.members[0] if len(ring.members) > 1 else None
    usable = [name for name in ring.members if name != down]
    without = build(config, {down: 0} if down else {})
    load = dict.fromkeys(ring.members, 0)
    for token in tokens:
        slots = haproxy_slots(ring.weights, load, usable, 150)
        assert sum(slots.values()) > sum(load.values())
        nearest = without.point(token)
        points = [point for point in zip(without.points, without.owners, strict=True) if point[0] >= nearest]
        points += [point for point in zip(without.points, without.owners, strict=True) if point[0] < nearest]
        expected = next(name for _, name in points if load[name] < slots[name])
        assert choose(ring, token, config.ring, load, usable) == expected
        load[expected] += 1


@pytest.mark.parametrize("ring", [*ALGORITHMS.values(), HAPROXY], ids=[*ALGORITHMS, "hash_balance_factor"])
@given(
    weights=weight_lists,
    loads=st.lists(st.integers(0, 50), min_size=6, max_size=6),
    bound=st.floats(1, 3),
    usable=st.sets(st.integers(0, 5), min_size=1),
    token=st.binary(max_size=9),
)
@settings(max_examples=30)
def test_the_choice_is_that_of_the_book(ring, weights, loads, bound, usable, token):
    config = pool(dict(zip("abcdef", weights, strict=False)), {"bound": bound} | ring)
    built = build(config)
    load = dict(zip(built.members, loads, strict=False))
    names = [name for number, name in enumerate(built.members) if number in usable] or built.members
    room = (haproxy_slots if "hash_balance_factor" in ring else capacities)(
        built.weights, load, names, ring.get("hash_balance_factor", bound)
    )
    mine = Bound(built, config.ring, names)
    total = sum(load[name] for name in mine.counted)
    assert {name: mine.room(name, total) for name in names} == room
    assert choose(built, token, config.ring, load, names) == next(bounded(built, token, config.ring, load, names))
