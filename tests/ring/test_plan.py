"""A plan says what then happens, token by token."""

import math

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from ring_pools import ALGORITHMS, pool

from balancer.admin.periodic_counts import ring_counts
from balancer.ring.build import build
from balancer.ring.plan import plan, side

BEFORE = {"a": 1, "b": 2, "c": 1, "d": 1.5}
AFTER = {"a": 1, "b": 1, "d": 1.5, "e": 2}
TOKENS = [b"%024x" % (number * 0x9E3779B97F4A7C15F39CC060) for number in range(20_000)]
MINIMAL = set(ALGORITHMS) - {"ketama", "haproxy map-based", "maglev"}


def counted(before, after):
    pairs = {}
    for token in TOKENS:
        pair = before.owner(token), after.owner(token)
        pairs[pair] = pairs.get(pair, 0) + 1
    return {pair: count / len(TOKENS) for pair, count in pairs.items()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_moves_are_what_then_happens(name):
    before, after = build(pool(BEFORE, ALGORITHMS[name])), build(pool(AFTER, ALGORITHMS[name]))
    found = plan(before, after)
    assert found.sampled == 0
    happens = counted(before, after)
    for move in found.moves:
        error = 5 * math.sqrt(move.share * (1 - move.share) / len(TOKENS))
        assert happens.pop((move.source, move.target), 0) == pytest.approx(move.share, abs=error)
    moved_otherwise = sum(share for (source, target), share in happens.items() if source != target)
    assert moved_otherwise < 0.001
    assert found.moved == pytest.approx(sum(move.share for move in found.moves))
    assert [move.share for move in found.moves] == sorted((move.share for move in found.moves), reverse=True)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_moves_account_for_every_share(name):
    before, after = build(pool(BEFORE, ALGORITHMS[name])), build(pool(AFTER, ALGORITHMS[name]))
    shares = dict(side(before).shares)
    for move in plan(before, after).moves:
        shares[move.source] -= move.share
        shares[move.target] = shares.get(move.target, 0) + move.share
    del shares["c"]
    assert shares == pytest.approx(side(after).shares, abs=1e-12)


@pytest.mark.parametrize("name", sorted(MINIMAL))
def test_fixed_points_move_nothing_needlessly(name):
    found = plan(build(pool(BEFORE, ALGORITHMS[name])), build(pool(AFTER, ALGORITHMS[name])))
    assert found.moved > 0
    assert found.needless == 0


@pytest.mark.parametrize("name", ["maglev", "haproxy map-based"])
def test_tables_move_some_needlessly_and_say_so(name):
    found = plan(build(pool(BEFORE, ALGORITHMS[name])), build(pool(AFTER, ALGORITHMS[name])))
    assert 0 < found.needless < found.moved
    assert all(not move.needless for move in found.moves if move.source in "bc" or move.target == "e")


@examples(max_examples=50)
@given(data=st.data(), name=st.sampled_from(["nginx", "haproxy consistent", "ring"]))
def test_exact_moves_are_exact_on_every_boundary(data, name):
    """A key space of 2**32 (or 2**64) positions, added up piece by piece by definition."""
    weights = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([0.01, 0.02, 0.05]), min_size=1)
    settings = ALGORITHMS[name] if name != "ring" else {"points": 3}
    before, after = (build(pool(data.draw(weights), settings)) for _ in range(2))
    size = 1 << before.hash.bits

    def owner_at(ring, position):
        return ring.names[sum(end < position for end in ring.ends)]

    borders = sorted({0, *(end + 1 for ring in (before, after) for end in ring.ends if end + 1 < size)})
    expected = {}
    for start, stop in zip(borders, [*borders[1:], size], strict=True):
        pair = owner_at(before, start), owner_at(after, start)
        assert pair == (owner_at(before, stop - 1), owner_at(after, stop - 1))
        expected[pair] = expected.get(pair, 0) + stop - start
    found = {(move.source, move.target): move.share for move in plan(before, after).moves}
    assert found == {pair: length / size for pair, length in expected.items() if pair[0] != pair[1]}


def test_no_change_moves_nothing():
    ring = build(pool(BEFORE))
    assert plan(ring, build(pool(BEFORE))).moves == ()


def test_another_algorithm_is_sampled_and_says_how_well():
    found = plan(build(pool(BEFORE)), build(pool(BEFORE, {"algorithm": "maglev", "table_size": 1009})))
    assert found.sampled == 10_000
    assert found.needless == found.moved
    assert found.standard_error == pytest.approx(math.sqrt(found.moved * (1 - found.moved) / 10_000))
    assert found == plan(build(pool(BEFORE)), build(pool(BEFORE, {"algorithm": "maglev", "table_size": 1009})))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_worst_loss_is_what_then_happens(name):
    ring = build(pool(BEFORE, ALGORITHMS[name]))
    loss = side(ring).worst_loss
    loads = {}
    for token in TOKENS:
        owner, heir, *_ = ring.order(token)
        for lost in ring.members:
            holder = heir if owner == lost else owner
            loads[lost, holder] = loads.get((lost, holder), 0) + 1 / len(TOKENS)
    total = sum(BEFORE.values())
    ratios = {(lost, name): load / (BEFORE[name] / total) for (lost, name), load in loads.items() if lost != name}
    assert loss.heir.ratio == pytest.approx(max(ratios.values()), rel=0.05)
    assert loss.heir.ratio == pytest.approx(ratios[loss.lost, loss.heir.backend], rel=0.05)


def test_a_single_backend_has_nobody_to_lose_to():
    assert side(build(pool({"a": 1}))).worst_loss is None
    assert side(build(pool({"a": 1}))).fullest.ratio == 1


def test_the_id_stands_for_both_rings_and_the_overlay():
    one, two = build(pool(BEFORE)), build(pool(AFTER))
    ids = [plan(one, two).id, plan(two, one).id, plan(one, two, "7").id, plan(one, one).id]
    assert len(set(ids)) == 4
    assert plan(one, two).id == ids[0]


def test_the_shares_of_a_ring_are_computed_once():
    """500 backends take 0.1 s; metrics have them worked out as soon as the ring is active, views then find them."""
    ring = build(pool({"a": 1, "b": 2}))
    assert ring_counts(ring).shares is side(ring).shares
