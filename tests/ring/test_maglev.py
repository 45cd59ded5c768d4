"""Maglev: even shares, and few tokens moved beyond those that must."""

import pytest
from ring_pools import pool

from balancer.config.pool import RingConfig
from balancer.ring.build import build
from balancer.ring.plan import side

HOSTS = [f"host-{number:02}" for number in range(20)]


def table(weights):
    return build(pool(weights, {"algorithm": "maglev"}))


def test_shares_are_even_to_a_slot_or_two():
    ring = table(dict.fromkeys(HOSTS, 1))
    assert len(ring.slots) == RingConfig().table_size == 65537
    counts = [ring.slots.count(name) for name in HOSTS]
    assert max(counts) - min(counts) <= 1


def test_shares_follow_weights():
    weights = {name: [1, 2, 0.5, 3][index % 4] for index, name in enumerate(HOSTS)}
    ring = table(weights)
    for name, share in side(ring).shares.items():
        assert share == pytest.approx(weights[name] / sum(weights.values()), rel=0.001)


def test_the_smallest_weight_still_has_a_slot():
    assert side(table({"big": 256, "tiny": 0.0001})).shares["tiny"] > 0


def test_losing_a_backend_moves_little_else():
    before = table(dict.fromkeys(HOSTS, 1))
    after = table(dict.fromkeys(HOSTS[1:], 1))
    needless = sum(old != new for old, new in zip(before.slots, after.slots, strict=True) if old != HOSTS[0])
    assert 0 < needless / len(before.slots) < 0.02
