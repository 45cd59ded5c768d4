"""Backups: nobody goes there while anybody else will do, and then everybody goes to the first of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import DIGEST, NOW, TOKEN, told

from balancer.config.pool import BackendConfig, HealthConfig, PoolConfig, RingConfig
from balancer.control.placement import make_placement
from balancer.health.availability import Availability
from balancer.overlay.overlay import Overlay, SetState
from balancer.pool.pool import Pool
from balancer.ring.build import build

NAMES = ["a", "b", "x", "y"]
BACKUPS = ["x", "y"]
TOKENS = [b"t%d" % number for number in range(30)]
AVAILABLE, DOWN, POORLY = Availability(), Availability("unhealthy", down=True), Availability(requested_state="degraded")


def settings(**ring):
    backends = [
        BackendConfig(name=name, address=f"10.0.0.{n}:1", backup=name in BACKUPS) for n, name in enumerate(NAMES, 1)
    ]
    return PoolConfig(
        name="ide", token=TOKEN, ring=RingConfig(**ring), health=HealthConfig(type="tcp"), backend=tuple(backends)
    )


def open_pool(availabilities, states=(), **ring):
    config = settings(**ring)
    overlay = Overlay()
    for name in states:
        overlay = overlay.apply(SetState(backend=name, state="maint"), dict.fromkeys(NAMES, 1.0), NOW)
    addresses = {backend.name: backend.address for backend in config.backend}
    pool = Pool(config, make_placement(build(config), addresses, overlay, DIGEST, NOW, backups=tuple(BACKUPS)))
    pool.update_availability(dict(zip(NAMES, availabilities, strict=True)))
    return pool


def first(pool, token):
    return told(pool, token)[0]


@pytest.mark.parametrize("ring", [{}, {"bound": 1.25}, {"algorithm": "haproxy"}, {"algorithm": "maglev"}])
def test_a_backup_is_not_on_the_ring(ring):
    assert set(build(settings(**ring)).members) == {"a", "b"}
    pool = open_pool([AVAILABLE] * 4, **ring)
    for token in TOKENS:
        assert [name for name, _ in told(pool, token)[2:]] == BACKUPS
        assert {rule for _, rule in told(pool, token)[2:]} == {"backup"}


def test_the_first_backup_gets_everybody():
    pool = open_pool([DOWN, DOWN, AVAILABLE, AVAILABLE])
    assert {first(pool, token) for token in [*TOKENS, None]} == {("x", "backup")}
    pool = open_pool([DOWN, DOWN, DOWN, AVAILABLE])
    assert {first(pool, token) for token in [*TOKENS, None]} == {("y", "backup")}
    pool = open_pool([AVAILABLE, DOWN, AVAILABLE, AVAILABLE])
    assert {first(pool, token)[0] for token in [*TOKENS, None]} == {"a"}


def test_a_backup_is_better_than_panic_and_than_a_degraded_host():
    pool = open_pool([DOWN, POORLY, AVAILABLE, DOWN])
    assert not pool.panic
    assert first(pool, TOKENS[0]) == ("x", "backup")
    assert open_pool([DOWN, DOWN, DOWN, DOWN]).panic


def test_a_backup_in_maintenance_is_none():
    pool = open_pool([DOWN, DOWN, AVAILABLE, AVAILABLE], states=["x"])
    assert first(pool, TOKENS[0]) == ("y", "backup")
    assert open_pool([DOWN, DOWN, AVAILABLE, DOWN], states=["x"]).panic


@given(st.tuples(*[st.sampled_from([AVAILABLE, DOWN, POORLY])] * 4), st.sampled_from([*TOKENS[:5], None]))
def test_everybody_is_a_candidate_once_and_backups_come_after_who_is_well(availabilities, token):
    pool = open_pool(availabilities)
    places = [name for name, _ in told(pool, token)]
    assert sorted(places) == NAMES
    if not pool.panic:
        well = [name for name, availability in zip(NAMES, availabilities, strict=True) if availability == AVAILABLE]
        assert set(places[: len(well)]) == set(well)
        assert places[: len(well)] == sorted(places[: len(well)], key=lambda name: name in BACKUPS)
