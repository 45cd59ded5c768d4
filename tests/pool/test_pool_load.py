"""Backends with a limit, and loads that bounds look at: the same in every worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import config, steered, told

from balancer.config.pool import BackendConfig
from balancer.pool.pool import Pool
from balancer.pool.selection import FULL
from balancer.ring.build import build
from balancer.shared.counters import SharedCounters, size

NAMES = ["a", "b", "c"]
SEATS = {name: number for number, name in enumerate(NAMES)}


def workers(ring=None, view=None, **limits):
    """The same pool in two workers."""
    view = view or memoryview(bytearray(size(2)))
    settings = config(NAMES, ring).model_copy(update=limits)
    pools = []
    for row in range(2):
        pool = Pool(settings, seated(settings))
        pool.share(SharedCounters(view, row))
        pools.append(pool)
    return pools


def seated(settings, slots=SEATS):
    placement = steered(settings)
    return type(placement)(**{**vars(placement), "slots": slots})


class TestLimits:
    @given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(NAMES), st.booleans()), max_size=60))
    def test_all_workers_together_never_exceed_it(self, steps):
        pools = workers(max_connections=3)
        held = {(worker, name): 0 for worker in range(2) for name in NAMES}
        for worker, name, enters in steps:
            backend = pools[worker].backends[name]
            together = held[0, name] + held[1, name]
            if enters:
                assert backend.enter() is (together < 3)
                held[worker, name] += together < 3
            elif held[worker, name]:
                backend.leave()
                held[worker, name] -= 1
            assert backend.active == held[worker, name]

    def test_each_backend_may_have_its_own(self):
        backends = tuple(
            BackendConfig(name=name, address=f"10.0.0.1:{port}", max_connections=limit)
            for port, (name, limit) in enumerate(zip(NAMES, (None, 0, 5), strict=True), start=1)
        )
        pool, _ = workers(max_connections=2, backend=backends)
        assert pool.backends["a"].load.limit == 2
        assert pool.backends["b"].load is None
        assert pool.backends["c"].load.limit == 5

    def test_without_limit_and_bound_nothing_is_counted(self):
        pool, _ = workers()
        assert all(backend.load is None for backend in pool.backends.values())
        assert pool.backends["a"].enter()
        assert pool.backends["a"].active == 1

    def test_a_removed_backend_leaves_nothing_behind(self):
        one, other = workers(max_connections=1)
        assert one.backends["a"].enter()
        assert not other.backends["a"].enter()
        one.place(seated(config(["b", "c"]), {"b": 1, "c": 2}))
        assert other.backends["a"].enter()

    def test_another_seat_takes_the_count_along(self):
        one, other = workers(max_connections=2)
        assert one.backends["a"].enter()
        for pool in (one, other):
            pool.place(seated(pool.settings, {"a": 9, "b": 1, "c": 2}))
        assert other.backends["a"].enter()
        assert not other.backends["a"].enter()

    def test_limits_may_be_changed_and_taken_away_and_come_back(self):
        one, other = workers(max_connections=1)
        assert one.backends["a"].enter()
        assert not other.backends["a"].enter()
        waiting = other.backends["a"].load.waiting
        waiting.append("somebody")
        for pool in (one, other):
            pool.configure(pool.settings.model_copy(update={"max_connections": 2}))
        assert other.backends["a"].load.waiting is waiting
        assert other.backends["a"].enter()
        assert not other.backends["a"].enter()
        for pool in (one, other):
            pool.configure(pool.settings.model_copy(update={"max_connections": 0}))
        assert other.backends["a"].enter()
        for pool in (one, other):
            pool.configure(pool.settings.model_copy(update={"max_connections": 3}))
        assert not one.backends["a"].enter()  # what was counted meanwhile is known

    def test_who_was_full_is_remembered_as_such(self):
        pool, _ = workers(max_connections=1)
        first = pool.first(b"token", 0.0)
        walk = pool.candidates(b"token", 0.0, first, FULL)
        second = next(walk)
        assert second.skipped == ((first.backend.name, "full"),)
        third = walk.send(FULL)
        assert third.skipped == ((first.backend.name, "full"), (second.backend.name, "full"))
        with pytest.raises(StopIteration):
            walk.send(None)


class TestBounds:
    @pytest.mark.parametrize(
        "ring", [{"bound": 1.0}, {"algorithm": "haproxy", "hash_type": "consistent", "hash_balance_factor": 101}]
    )
    def test_loads_of_other_workers_count(self, ring):
        one, other = workers(ring)
        owner = build(config(NAMES, ring)).owner(b"token")
        assert told(one, b"token")[0] == (owner, "owner")
        for number in range(10):
            other.leases.open(b"other-%d" % number, object(), owner)
            other.backends[owner].enter()
        chosen, reason = told(one, b"token")[0]
        assert chosen != owner
        assert reason == "bounded"

    def test_users_who_leave_are_not_counted(self):
        one, other = workers({"bound": 1.0})
        owner = one.placement.ring.owner(b"token")
        leases = [other.leases.open(b"other-%d" % number, number, owner) for number in range(10)]
        for number, lease in enumerate(leases):
            other.leases.close(lease, number, 0.0)
        assert told(one, b"token")[0] == (owner, "owner")

    def test_bounds_do_not_concern_a_user_with_tunnels(self):
        """If the host of the tunnels cannot be reached, the others come in the order of the ring."""
        pool, _ = workers({"bound": 1.0})
        order = list(pool.placement.ring.order(b"token"))
        for number in range(10):
            pool.leases.open(b"other-%d" % number, object(), order[1])
        pool.leases.open(b"token", "tab", order[0])
        assert told(pool, b"token") == [(order[0], "lease"), (order[1], "successor"), (order[2], "successor")]
