"""Bounded load decides as if all were worked out anew each time, at a cost that does not grow with the backends."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import config, steered

from balancer.config.plain import pool_settings
from balancer.config.pool import BackendConfig, HealthConfig, PoolConfig, RingConfig
from balancer.config.settings import BackendTlsSettings
from balancer.health.availability import Availability
from balancer.overlay.overlay import SetState
from balancer.pool.pool import Pool
from balancer.ring.bounded import Bound
from balancer.ring.build import build
from balancer.shared.counters import SharedCounters, size

NAMES = "abcdef"
RINGS = [
    {"bound": 1.0},
    {"bound": 1.25},
    {"algorithm": "haproxy", "hash_type": "consistent", "hash_balance_factor": 150},
    {"algorithm": "maglev", "table_size": 251, "bound": 1.1},
    {"algorithm": "rendezvous", "bound": 2.0},
]
BUILT = {str(ring): build(config(NAMES, ring)) for ring in RINGS}
AVAILABILITIES = [
    Availability(),
    Availability(reason="down", down=True),
    Availability(ejected="too many errors"),
    Availability(requested_state="drain"),
    Availability(requested_state="degraded"),
]


class Forgetful(Pool):
    """A pool that works out everything anew for each candidate."""

    def _with_room(self, token, now):
        tried = set()
        while True:
            ring = self.placement.ring
            usable = [
                name
                for name in ring.members
                if name not in tried
                and not self.refuses(self.backends[name], None)
                and not self.left_out(self.backends[name], None, now, health=not self.panic)
            ]
            if not usable:
                return
            bound = Bound(ring, self.settings.ring, usable)
            chosen = bound.choose(token, self.carried, sum(self.carried(name) for name in bound.counted))
            full = []
            for name in ring.order(token):
                if name == chosen:
                    break
                if name in usable:
                    full.append(name)
                else:
                    yield name, "owner", ()
            yield chosen, "bounded" if full else "owner" if chosen == ring.owner(token) else "successor", full
            tried.add(chosen)


changes = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(NAMES), st.integers(1, 6)),
        st.tuples(st.just("availability"), st.sampled_from(NAMES), st.sampled_from(AVAILABILITIES)),
        st.tuples(st.just("fails"), st.sampled_from(NAMES), st.floats(0, 20)),
        st.tuples(st.just("works"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("state"), st.sampled_from(NAMES), st.sampled_from(["ready", "drain", "maint"])),
    ),
    max_size=12,
)


def counted(settings, changes=(), ring=None):
    """A placement whose backends have shared counters."""
    placement = steered(settings, changes, ring)
    return replace(placement, slots={name: slot for slot, name in enumerate(placement.addresses)})


def change(pool, kind, name, value, number, settings, states, ring):
    match kind:
        case "open":
            for each in range(value):
                pool.leases.open(b"%d-%d" % (number, each), object(), name)
                pool.backends[name].enter()
        case "availability":
            pool.update_availability({name: value})
        case "fails":
            pool.backends[name].connect_failed(value)
        case "works":
            pool.backends[name].connected()
        case "state":
            states[name] = value
            pool.place(counted(settings, [SetState(backend=n, state=s) for n, s in states.items()], ring))


@given(
    ring=st.sampled_from(RINGS),
    script=changes,
    token=st.binary(min_size=1, max_size=4),
    now=st.floats(0, 30),
    shared=st.booleans(),
)
def test_every_candidate_is_the_same(ring, script, token, now, shared):
    found = []
    for kind in (Pool, Forgetful):
        settings = config(NAMES, ring)
        pool = kind(settings, counted(settings, (), BUILT[str(ring)]))
        if shared:
            pool.share(SharedCounters(memoryview(bytearray(size(2))), 1))
        states = {}
        told = []
        for number, (what, name, value) in enumerate(script):
            change(pool, what, name, value, number, settings, states, BUILT[str(ring)])
            told.append([(each.backend.name, each.reason, each.skipped) for each in pool.candidates(token, now)])
        told.append([(each.backend.name, each.reason, each.skipped) for each in pool.candidates(token, now)])
        found.append(told)
    assert found[0] == found[1]


def calls(work):
    """How many Python functions ``work`` calls, built-in ones included."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def large(number, ring, **more):
    backends = tuple(
        BackendConfig(name=f"h{n}", address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1") for n in range(number)
    )
    settings = PoolConfig(name="ide", ring=RingConfig(points=16, **ring), backend=backends, **more)
    pool = Pool(pool_settings(settings, BackendTlsSettings()), counted(settings))
    pool.share(SharedCounters(memoryview(bytearray(size(1))), 0))
    return pool


def test_the_cost_of_a_decision_does_not_grow_with_the_backends():
    def decide(pool):
        next(pool.candidates(b"token", 0.0))

    costs = []
    for number in (10, 1000):
        pool = large(number, {"bound": 1.25})
        decide(pool)
        costs.append(calls(lambda pool=pool: decide(pool)))
    assert costs[1] < costs[0] + 50


@pytest.mark.pure
def test_nor_while_one_has_failed_to_connect():
    pool = large(1000, {"bound": 1.25})
    pool.backends["h7"].connect_failed(0.0)

    def decide():
        next(pool.candidates(b"token", 1.0))

    decide()
    assert calls(decide) < 200


def test_the_cost_of_a_decision_is_linear_in_backends_that_are_down():
    pool = large(1001, {}, health=HealthConfig(panic_threshold=0))
    pool.update_availability({f"h{n}": Availability(reason="down", down=True) for n in range(1000)})
    assert not pool.panic
    assert next(pool.candidates(b"token", 0.0)).backend.name == "h1000"
    assert calls(lambda: next(pool.candidates(b"token", 0.0))) < 30 * 1000
