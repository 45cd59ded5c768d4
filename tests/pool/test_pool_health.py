"""Placement by health: who is passed over, who is better than nobody, and whom it does not concern."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import config, steered, told

from balancer.health.availability import AVAILABLE, UNKNOWN, Availability
from balancer.overlay.overlay import SetState
from balancer.pool.pool import Pool

NAMES = ["a", "b", "c", "d"]
LOOKS = {
    "well": AVAILABLE,
    "down": Availability("unhealthy: status 500", down=True),
    "unknown": UNKNOWN,
    "degraded": Availability(requested_state="degraded"),
    "drain": Availability(requested_state="drain"),
    "agent maint": Availability(requested_state="maint"),
    "ejected": Availability(ejected="ejected: 5 failures in a row"),
    "agent down": Availability("unhealthy: its agent says down", down=True),
}
WHY = {
    "down": "unhealthy: status 500",
    "unknown": "not probed yet",
    "degraded": "degraded",
    "drain": "asks to be drained",
    "agent maint": "asks for maintenance",
    "ejected": "ejected: 5 failures in a row",
    "agent down": "unhealthy: its agent says down",
}


def probed_pool(states, ring=None, changes=(), panic_threshold=0.0):
    settings = config(NAMES, ring)
    health = settings.health.model_copy(update={"type": "tcp", "panic_threshold": panic_threshold})
    settings = settings.model_copy(update={"health": health})
    pool = Pool(settings, steered(settings, changes))
    for name, state in states.items():
        pool.update_availability({name: LOOKS[state]})
    return pool


@given(
    st.fixed_dictionaries({name: st.sampled_from(list(LOOKS)) for name in NAMES}),
    st.integers(0, 50),
    st.sampled_from([None, *NAMES]),
    st.sampled_from([{}, {"bound": 1.25}, {"algorithm": "rendezvous"}]),
)
def test_in_every_state(states, number, tunnel, ring):
    pool, token = probed_pool(states, ring), b"token-%d" % number
    if tunnel:
        pool.leases.open(token, "tab", tunnel)
    order = list(pool.placement.ring.order(token))
    fine = [n for n in order if states[n] == "well" or (n == tunnel and states[n] in ("degraded", "drain", "ejected"))]
    degraded = [n for n in order if states[n] == "degraded" and n not in fine]
    left = [n for n in order if states[n] in ("unknown", "drain", "agent down") and n not in fine]
    others = [n for n in left if not LOOKS[states[n]].down]  # panic is turned off

    found = list(pool.candidates(token, 1.0))
    names = [each.backend.name for each in found]
    assert set(names[: len(fine)]) == set(fine)
    assert set(names[len(fine) : len(fine) + len(degraded)]) == set(degraded)
    assert set(names[len(fine) + len(degraded) :]) == set(others)
    assert [each.reason for each in found[len(fine) :]] == ["degraded"] * len(degraded) + ["panic"] * len(others)
    if tunnel in fine:
        assert (names[0], found[0].reason) == (tunnel, "lease")
    elif fine and not ring:
        assert names[: len(fine)] == fine
    for each in found:
        assert all(why in (WHY.get(states[name]), "failed to connect", "full") for name, why in each.skipped)
    quick = pool.first(token, 1.0)
    assert quick is None or (quick.backend is found[0].backend and quick.reason == found[0].reason)
    if not ring and states[tunnel or order[0]] == "well":
        assert quick is not None, "the everyday case takes the short way"


@pytest.mark.parametrize("state", LOOKS)
def test_what_operators_say_comes_first(state):
    pool = probed_pool(dict.fromkeys(NAMES, "down") | {"a": state}, changes=[SetState(backend="a", state="maint")])
    assert "a" not in dict(told(pool, b"t"))


def test_health_does_not_move_the_ring():
    pool = probed_pool(dict.fromkeys(NAMES, "well"))
    before = pool.placement.ring.fingerprint
    pool.update_availability({"a": LOOKS["down"]})
    assert pool.placement.ring.fingerprint == before
    pool.place(pool.placement)
    assert pool.backends["a"].availability.down, "a new placement forgets nothing"


def test_those_in_turn_pass_over_who_is_down():
    pool = probed_pool({"a": "well", "b": "down", "c": "well", "d": "drain"})
    firsts = {next(pool.candidates(None, 1.0)).backend.name for _ in range(8)}
    assert firsts == {"a", "c"}


def test_a_return_ends_the_wait_after_a_failed_connect():
    pool = probed_pool({"a": "down"})
    pool.backends["a"].connect_failed(0.0)
    pool.update_availability({"a": LOOKS["agent down"]})
    assert pool.backends["a"].held_until
    pool.update_availability({"a": AVAILABLE})
    assert pool.backends["a"].unavailable(1.0) == ""
    pool.backends["a"].connect_failed(2.0)
    pool.update_availability({"a": LOOKS["degraded"]})
    assert pool.backends["a"].unavailable(3.0) == "failed to connect"
    pool.update_availability({"nobody": AVAILABLE})


@pytest.mark.parametrize("state", LOOKS)
def test_a_standing_travels_between_processes(state):
    assert pickle.loads(pickle.dumps(LOOKS[state])) == LOOKS[state]


@pytest.mark.parametrize(("on_down", "ended"), [("keep", []), ("close", ["on b"])])
def test_older_tunnels_on_a_host_that_is_down_are_kept_if_the_pool_says_so(on_down, ended):
    pool = probed_pool({name: "well" for name in NAMES})
    health = pool.settings.health.model_copy(update={"on_down": on_down})
    pool.configure(pool.settings.model_copy(update={"health": health}))
    lease = [pool.leases.open(b"ann", f"on {name}", name) for name in ("b", "c", "a")][-1]
    pool.update_availability({"b": LOOKS["down"], "c": LOOKS["ejected"]})
    assert sorted(pool.left_behind(lease, "a")) == sorted([*ended, "on c"])
    assert pool.left_behind(lease, "a") == []
