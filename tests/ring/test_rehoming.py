"""From one ring to another by and by: who moves at each step, and that nobody moves twice."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.config.pool import BackendConfig, HashingConfig, PoolConfig, RingConfig
from balancer.ring.build import build
from balancer.ring.plan import plan, side

NAMES = ("a", "b", "c", "d", "e")
TOKENS = [b"%x" % (n * 2654435761) for n in range(4000)]
BEFORE = HashingConfig(algorithm="haproxy", hash_type="consistent")


def pool(rehomed=None, **ring):
    settings = RingConfig(**ring) if rehomed is None else RingConfig(before=BEFORE, rehomed=rehomed, **ring)
    backends = tuple(BackendConfig(name=name, address=f"10.0.0.{n}:80", id=n) for n, name in enumerate(NAMES, 1))
    return PoolConfig(name="ide", ring=settings, backend=backends)


OLD = build(pool(algorithm="haproxy", hash_type="consistent"))
NEW = build(pool())


@pytest.mark.parametrize(("rehomed", "same"), [(0.0, OLD), (1.0, NEW)])
def test_at_both_ends_it_is_one_of_them(rehomed, same):
    assert build(pool(rehomed)).fingerprint == same.fingerprint


@settings(max_examples=20)
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_larger_share_takes_further_users_along_and_moves_nobody_else(one, other):
    less, more = (build(pool(share)) for share in sorted((one, other)))
    for token in TOKENS[:300]:
        homes = less.owner(token), more.owner(token)
        assert homes in {(OLD.owner(token),) * 2, (OLD.owner(token), NEW.owner(token)), (NEW.owner(token),) * 2}
        assert list(more.order(token)) in (list(OLD.order(token)), list(NEW.order(token)))


def test_so_many_users_move_as_the_share_says():
    ring = build(pool(0.25))
    new = sum(ring.chosen(token) is ring.after for token in TOKENS) / len(TOKENS)
    assert abs(new - 0.25) < 0.03
    expected = {name: 0.75 * side(OLD).shares[name] + 0.25 * side(NEW).shares[name] for name in NAMES}
    assert side(ring).shares == pytest.approx(expected)
    counted = {name: sum(ring.owner(token) == name for token in TOKENS) / len(TOKENS) for name in NAMES}
    assert counted == pytest.approx(expected, abs=0.03)


def test_the_draw_knows_nothing_of_the_rings():
    """Of those who move, as many come from each host and go to each as by the shares of the hosts."""
    ring = build(pool(0.5))
    moved = [token for token in TOKENS if ring.chosen(token) is ring.after]
    for other in (OLD, NEW):
        found = {name: sum(other.owner(token) == name for token in moved) / len(moved) for name in NAMES}
        assert found == pytest.approx(side(other).shares, abs=0.04)


def test_a_plan_of_a_step():
    made = plan(build(pool(0.1)), build(pool(0.2)))
    everything = plan(OLD, NEW)
    assert abs(made.moved - 0.1 * everything.moved) < 0.02
    assert build(pool(0.1)).fingerprint != build(pool(0.2)).fingerprint


def test_weights_and_other_processes():
    ring = build(pool(0.5), {"a": 0.0})
    assert ring.members == NAMES[1:]
    again = pickle.loads(pickle.dumps(ring))
    assert [again.owner(token) for token in TOKENS[:200]] == [ring.owner(token) for token in TOKENS[:200]]
    assert all(ring.point(token) is not None and ring.position(token) >= 0 for token in TOKENS[:50])
    assert set(ring.point_counts()) == set(NAMES[1:])
