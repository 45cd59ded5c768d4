"""Panic: when it begins and ends, and what it makes of placement."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import config, steered, told

from balancer.config.plain import pool_settings
from balancer.config.pool import HealthConfig
from balancer.config.settings import BackendTlsSettings
from balancer.health.availability import AVAILABLE, UNKNOWN, Availability
from balancer.health.panic import healthy_share
from balancer.overlay.overlay import SetState
from balancer.pool.pool import Pool
from balancer.ring.build import build

NAMES = ["a", "b", "c", "d"]
DOWN, EJECTED = Availability("unhealthy: status 500", down=True), Availability(ejected="ejected: 5 failures in a row")
DEGRADED, DRAIN = Availability(requested_state="degraded"), Availability(requested_state="drain")


def open_pool(threshold=0.5, changes=(), weights=None):
    settings = config(NAMES)
    settings = settings.model_copy(update={"health": HealthConfig(panic_threshold=threshold)})
    return Pool(settings, steered(settings, changes, build(settings, weights) if weights else None))


@pytest.mark.parametrize(
    ("members", "share"),
    [
        ([], 1.0),
        ([(1.0, UNKNOWN), (2.0, DRAIN)], 1.0),
        ([(1.0, AVAILABLE), (3.0, DOWN)], 0.25),
        ([(1.0, AVAILABLE), (1.0, DEGRADED), (2.0, EJECTED)], 0.5),
        ([(1.0, DOWN), (5.0, UNKNOWN), (5.0, Availability("down", down=True, requested_state="maint"))], 0.0),
        ([(0.0, AVAILABLE), (1.0, DOWN)], 0.0),
    ],
)
def test_the_share_of_those_who_count(members, share):
    assert healthy_share(members) == share


@given(st.lists(st.tuples(st.floats(0, 256), st.sampled_from([AVAILABLE, DOWN, UNKNOWN, EJECTED, DEGRADED, DRAIN]))))
def test_it_is_a_share_and_grows_with_every_recovery(members):
    share = healthy_share(members)
    assert 0.0 <= share <= 1.0
    for n, (weight, availability) in enumerate(members):
        if availability is DOWN:
            assert healthy_share([*members[:n], (weight, AVAILABLE), *members[n + 1 :]]) >= share


def test_in_panic_everybody_goes_home():
    pool = open_pool()
    tokens = [b"token-%d" % n for n in range(50)]
    homes = {token: next(pool.placement.ring.order(token)) for token in tokens}
    pool.update_availability({"a": DOWN, "b": EJECTED})
    assert (pool.healthy, pool.panic) == (0.5, False), "not fewer than the threshold"
    assert {told(pool, token)[0][0] for token in tokens} == {"c", "d"}
    pool.update_availability({"c": DOWN})
    assert (pool.healthy, pool.panic) == (0.25, True)
    for token, home in homes.items():
        first = pool.first(token, 0.0)
        assert (first is not None) == (home == "d")
        assert told(pool, token)[0] == (home, "owner" if home == "d" else "panic")
    pool.update_availability({"a": AVAILABLE})
    assert not pool.panic
    assert {told(pool, token)[0][0] for token in tokens} == {"a", "d"}


def test_what_has_just_failed_and_what_a_host_wishes_still_count():
    pool = open_pool()
    pool.update_availability({"a": DOWN, "b": DOWN, "c": DOWN, "d": DRAIN})
    assert pool.panic
    pool.backends["a"].connect_failed(0.0)
    found = told(pool, b"t")
    assert {name for name, _ in found[:2]} == {"b", "c"}
    assert pool.left_out(pool.backends["b"], None, 0.0) == DOWN.reason, "who looks on hears the truth"


def test_bounded_load_goes_on_in_panic():
    settings = config(NAMES, {"bound": 1.25})
    pool = Pool(settings, steered(settings))
    pool.update_availability(dict.fromkeys(NAMES, DOWN))
    assert [rule for _, rule in told(pool, b"t")] == ["panic"] * 4


def test_weights_count_and_those_taken_out_do_not():
    assert open_pool().healthy == 1.0
    heavy = open_pool(weights={"a": 5.0, "b": 1.0, "c": 1.0, "d": 1.0})
    heavy.update_availability({"a": DOWN})
    assert heavy.panic
    drained = open_pool(changes=[SetState(backend="a", state="drain")])
    drained.update_availability({"a": DOWN, "b": DOWN})
    assert drained.healthy == pytest.approx(2 / 3)
    drained.place(steered(drained.settings, [SetState(backend="c", state="maint")]))
    assert drained.healthy == pytest.approx(1 / 3)
    assert drained.panic


def test_backups_stand_aside():
    pool = open_pool()
    pool.place(replace(pool.placement, backups=("d",)))
    pool.update_availability({"d": DOWN})
    assert pool.healthy == 1.0


def test_zero_is_never():
    pool = open_pool(threshold=0.0)
    pool.update_availability(dict.fromkeys(NAMES, DOWN))
    assert not pool.panic
    assert told(pool, b"t") == [], "the answer is 503, as from haproxy"
    pool.update_availability({"a": EJECTED, "b": UNKNOWN, "c": DEGRADED})
    assert told(pool, b"t") == [("c", "degraded"), ("b", "panic")]


@pytest.mark.parametrize(("health", "panics"), [({}, False), ({"panic_threshold": 0.3}, True)])
def test_balancers_of_a_tier_that_are_down_are_not_asked_unless_that_was_configured(health, panics):
    settings = config(NAMES).model_copy(update={"tier": True, "health": HealthConfig(**health)})
    pool = Pool(pool_settings(settings, BackendTlsSettings()), steered(settings))
    pool.update_availability(dict.fromkeys(NAMES, DOWN))
    assert pool.panic is panics
    assert bool(told(pool, b"t")) is panics
