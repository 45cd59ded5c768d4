"""An explanation names the candidates of a token, and leaves room for what overrides the ring."""

from dataclasses import replace

import pytest
from ring_pools import ALGORITHMS, TOKENS, pool

from balancer.ring.build import build
from balancer.ring.explain import Candidate, explain

WEIGHTS = {"a": 1, "b": 2, "c": 1}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_candidates_are_the_order_of_the_ring(name):
    ring = build(pool(WEIGHTS, ALGORITHMS[name]))
    for token in TOKENS[:20]:
        found = explain(ring, token)
        assert [each.backend for each in found.candidates] == list(ring.order(token))
        assert found.placed == ring.owner(token)
        assert found.if_lost == list(ring.order(token))[1]
        assert (found.position, found.point) == (ring.position(token), ring.point(token))
        assert found.fingerprint == ring.fingerprint


def test_limit():
    ring = build(pool(WEIGHTS))
    found = explain(ring, b"x", limit=2)
    assert len(found.candidates) == 2
    assert found.members == 3


def test_the_point_is_the_owners_own():
    ring = build(pool(WEIGHTS))
    for token in TOKENS[:50]:
        found = explain(ring, token)
        assert found.point >= found.position or found.point == min(ring.ends)
        assert ring.names[list(ring.ends).index(found.point)] == found.placed


def test_skipped_candidates_and_overrides():
    found = explain(build(pool(WEIGHTS)), b"x")
    first, second, third = (each.backend for each in found.candidates)
    without_owner = replace(found, candidates=(Candidate(first, "down"), Candidate(second), Candidate(third)))
    assert (without_owner.placed, without_owner.if_lost) == (second, third)
    pinned = replace(found, rule="pinned for 2 h", overridden=third)
    assert (pinned.placed, pinned.if_lost) == (third, first)
    nobody = replace(found, candidates=tuple(Candidate(each.backend, "down") for each in found.candidates))
    assert (nobody.placed, nobody.if_lost) == (None, None)


def test_a_single_backend_has_no_successor():
    assert explain(build(pool({"a": 1})), b"x").if_lost is None


def test_the_token_is_not_in_it():
    assert "hunter2" not in repr(explain(build(pool(WEIGHTS)), b"hunter2"))
