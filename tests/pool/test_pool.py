"""Which backend a token goes to: the order of the rules, and what holds in every situation."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import DIGEST, config, open_pool, steered, told

from balancer.overlay.overlay import Add, Pin, Remove, SetState, SetWeight
from balancer.pool.pool import Pool
from balancer.ring.build import build

NAMES = ["a", "b", "c", "d"]
RINGS = [
    {},
    {"bound": 1.25},
    {"algorithm": "haproxy", "hash_type": "consistent"},
    {"algorithm": "haproxy", "hash_type": "consistent", "hash_balance_factor": 150},
    {"algorithm": "maglev", "table_size": 251, "bound": 1.0},
    {"algorithm": "rendezvous"},
]
RING_OF = {str(ring): build(config(NAMES, ring)) for ring in RINGS}
REASONS = {"drain": "draining", "maint": "in maint"}


def pin(token, backend, prefix=None):
    return Pin(digest=DIGEST(token if prefix is None else token[:prefix]), prefix=prefix, backend=backend)


def drain(name):
    return SetState(backend=name, state="drain")


def maint(name):
    return SetState(backend=name, state="maint")


def token_of(pool, name):
    """A token that belongs to ``name`` on the ring."""
    return next(token for token in (b"t%d" % n for n in range(10**4)) if pool.placement.ring.owner(token) == name)


@st.composite
def situations(draw):
    """A function that makes the pool, as often as asked, and a token; with what was decided about it."""
    ring = draw(st.sampled_from(RINGS))
    states = draw(st.dictionaries(st.sampled_from(NAMES[1:]), st.sampled_from(["drain", "maint"])))
    token = b"token-%d" % draw(st.integers(0, 200))
    pinned = draw(st.sampled_from([None, None, *NAMES]))
    if states.get(pinned) == "maint":
        pinned = None
    held = draw(st.sets(st.sampled_from(NAMES)))
    tunnels = draw(st.lists(st.sampled_from(NAMES), max_size=3))
    lingers = draw(st.booleans())
    sketch = draw(st.lists(st.sampled_from(NAMES), max_size=12))
    changes = [SetState(backend=name, state=state) for name, state in states.items()]
    changes += [pin(token, pinned)] if pinned else []
    settings = config(NAMES, ring)
    placement = steered(settings, changes, RING_OF[str(ring)])

    def make(more_held=()):
        pool = Pool(settings, placement)
        for number, name in enumerate(sketch):
            pool.leases.open(b"other-%d" % number, object(), name)
            pool.backends[name].active += 1
        opened = [(pool.leases.open(token, number, name), number) for number, name in enumerate(tunnels)]
        if lingers:
            for lease, number in opened:
                pool.leases.close(lease, number, 0.0)
        for name in {*held, *more_held}:
            pool.backends[name].connect_failed(0.0)
        return pool

    return make, token, states, pinned, held


@given(situations())
def test_in_every_situation(situation):
    make, token, states, pinned, held = situation
    pool = make()
    found = list(pool.candidates(token, 1.0))
    names = [each.backend.name for each in found]
    rules = [each.reason for each in found]
    lease = pool.leases.get(token, 1.0)
    here = set(lease.sessions.values()) if lease else set()
    allowed = {name for name in NAMES if name not in states or (states[name] == "drain" and name in here)}

    assert len(names) == len(set(names))
    assert set(names) == allowed
    healthy = [name for name, rule in zip(names, rules, strict=True) if rule != "panic"]
    assert set(healthy) == allowed - held
    assert names[: len(healthy)] == healthy
    assert [name for name, rule in zip(names, rules, strict=True) if rule == "pin"] == [pinned] * (pinned in healthy)
    if pinned in healthy:
        assert healthy[0] == pinned
    elif lease and lease.place in healthy:
        assert (names[0], rules[0]) == (lease.place, "lease")
    elif healthy and here & set(healthy):
        assert rules[0] == "lease"  # another of the user's tunnels
    elif healthy:
        order = [name for name in pool.placement.ring.order(token) if name in healthy]
        if rules[0] in ("owner", "successor"):
            assert names[0] == order[0]
            assert (rules[0] == "owner") == (names[0] == pool.placement.ring.owner(token))
        else:
            assert rules[0] == "bounded"
            assert not here
            assert pool.settings.ring.bound or pool.settings.ring.hash_balance_factor


@given(situations())
def test_every_skip_has_its_reason(situation):
    make, token, states, _, held = situation
    pool = make()
    tried = set()
    for found in pool.candidates(token, 1.0):
        name = found.backend.name
        for skipped, reason in found.skipped:
            if reason == "full":
                assert found.reason == "bounded"
                assert skipped not in states
                assert skipped not in held | tried
            elif reason == "failed to connect":
                assert skipped in held | tried
            else:
                assert reason == REASONS[states[skipped]]
        if found.reason in ("owner", "successor", "bounded"):
            passed = {skipped for skipped, _ in found.skipped}
            order = list(pool.placement.ring.order(token))
            assert passed >= set(order[: order.index(name)])
        tried.add(name)
        found.backend.connect_failed(1.0)


@given(situations())
def test_a_retry_and_a_mark_down_choose_the_same_substitute(situation):
    make, token, _, _, held = situation
    down = set()
    for found in make().candidates(token, 1.0):
        if found.reason == "panic":
            break
        substitute = next(make(down).candidates(token, 1.0))
        assert substitute.backend.name == found.backend.name
        assert substitute.reason == found.reason
        down.add(found.backend.name)
        found.backend.connect_failed(1.0)
        assert down.isdisjoint(held)


@given(situations())
def test_the_short_way_is_the_long_way(situation):
    make, token, *_ = situation
    pool = make()
    first = pool.first(token, 1.0)
    if first is not None:
        long = next(pool.candidates(token, 1.0))
        assert (first.backend, first.reason, first.skipped) == (long.backend, long.reason, long.skipped)
        rest = list(pool.candidates(token, 1.0, after=first))
        assert first.backend not in [each.backend for each in rest]
        assert {each.backend for each in rest} | {first.backend} == {
            each.backend for each in pool.candidates(token, 1.0)
        }


@pytest.mark.parametrize("ring", [{"bound": 1.0}, RINGS[3]], ids=["bound", "hash_balance_factor"])
def test_the_substitute_has_room_too(ring):
    token = b"ann"

    def crowded():
        pool = open_pool(NAMES, ring=ring)
        order = list(pool.placement.ring.order(token))
        for number in range(20):
            pool.leases.open(b"other-%d" % number, number, order[1])
            pool.backends[order[1]].active += 1
        return pool, order

    pool, order = crowded()
    first, second = islice(pool.candidates(token, 0.0), 2)
    assert (first.backend.name, first.reason) == (order[0], "owner")
    assert second.backend.name != order[1]
    assert second.reason == "bounded"
    down, _ = crowded()
    down.backends[order[0]].connect_failed(0.0)
    assert next(down.candidates(token, 0.0)).backend.name == second.backend.name


def test_pin_then_lease_then_owner_then_successors():
    pool = open_pool(NAMES)
    token = token_of(pool, "a")
    pool.leases.open(token, 1, "b")
    pool.place(steered(pool.settings, [pin(token, "c")]))
    assert told(pool, token)[:4] == [("c", "pin"), ("b", "lease"), ("a", "owner"), ("d", "successor")]


def test_users_of_a_drained_backend_stay_and_nobody_comes():
    pool = open_pool(NAMES, [drain("a")])
    token = token_of(pool, "a")
    lease = pool.leases.open(token, 1, "a")
    assert told(pool, token)[0] == ("a", "lease")
    pool.leases.close(lease, 1, 0.0)
    assert "a" not in dict(told(pool, token))  # who only lingers is new
    assert dict(next(pool.candidates(token, 0.0)).skipped) == {"a": "draining"}


def test_maint_is_for_nobody():
    pool = open_pool(NAMES, [maint("a")])
    token = token_of(pool, "a")
    pool.leases.open(token, 1, "a")
    assert "a" not in dict(told(pool, token))
    assert dict(next(pool.candidates(token, 0.0)).skipped) == {"a": "in maint"}


def test_a_pin_to_a_draining_backend_falls_through():
    token = b"ann"
    pool = open_pool(NAMES, [pin(token, "a"), drain("a")])
    assert told(pool, token)[0][0] == next(name for name in pool.placement.ring.order(token) if name != "a")


def test_a_prefix_pins_whoever_has_it_and_a_whole_token_outranks_it():
    pool = open_pool(NAMES, [pin(b"class-7", "a", 7), pin(b"class-7-ann", "b"), pin(b"class-7-b", "c", 9)])
    assert told(pool, b"class-7-eve")[0] == ("a", "pin")
    assert told(pool, b"class-7")[0] == ("a", "pin")
    assert told(pool, b"class-7-ann")[0] == ("b", "pin")
    assert told(pool, b"class-7-bob")[0] == ("c", "pin")
    assert told(pool, b"class-")[0][1] == "owner"


def test_a_weight_of_zero_takes_nobody_but_those_pinned_or_there():
    settings = config(NAMES)
    off = build(settings, {"a": 0.0})
    pool = Pool(settings, steered(settings, [SetWeight(backend="a", weight=0.0), pin(b"ann", "a")], off))
    pool.leases.open(b"bob", 1, "a")
    assert told(pool, b"ann")[0] == ("a", "pin")
    assert told(pool, b"bob")[0] == ("a", "lease")
    assert "a" not in dict(told(pool, b"eve"))


def test_leases_on_a_removed_backend_do_not_count():
    settings = config(NAMES)
    added = [Add(name="e", address="10.0.0.9:4000")]
    pool = Pool(settings, steered(settings, added))
    pool.leases.open(b"ann", 1, "e")
    assert told(pool, b"ann")[0] == ("e", "lease")
    pool.place(steered(settings, [*added, Remove(name="e")]))
    assert "e" not in dict(told(pool, b"ann"))
    assert pool.first(b"ann", 0.0) is None
    assert "e" not in pool.backends


def test_a_swap_keeps_counters_and_takes_the_new_address():
    settings = config(NAMES)
    pool = Pool(settings, steered(settings))
    before = pool.backends["a"]
    before.connect_failed(0.0)
    moved = config(["b", "a", "c", "d"])  # every address follows from the order
    pool.place(steered(moved))
    assert pool.backends["a"] is before
    assert str(before.address) == "10.0.0.2:4000"
    assert before.connect_errors == 1


def test_maint_in_the_middle_of_the_tries_counts_at_once():
    pool = open_pool(NAMES)
    for name in NAMES[:2]:
        pool.backends[name].connect_failed(0.0)
    tries = pool.candidates(b"ann", 1.0)
    first = next(tries).backend.name
    pool.place(steered(pool.settings, [maint("a"), maint("b" if first != "b" else "c")]))
    assert not {each.backend.name for each in tries} & {"a", "b"}


def test_all_down_is_panic_in_the_order_of_the_rules():
    pool = open_pool(NAMES)
    token = token_of(pool, "a")
    for backend in pool.backends.values():
        backend.connect_failed(0.0)
    assert told(pool, token, 4.9) == [(name, "panic") for name in pool.placement.ring.order(token)]
    assert told(pool, token, 5.0)[0] == ("a", "owner")


def test_an_answer_forgives():
    pool = open_pool(NAMES)
    pool.backends["a"].connect_failed(0.0)
    assert pool.backends["a"].unavailable(1.0) == "failed to connect"
    pool.backends["a"].connected()
    assert pool.backends["a"].unavailable(1.0) == ""


def test_without_a_token_backends_take_turns():
    pool = open_pool(NAMES, [drain("b")])
    firsts = Counter(told(pool, None)[0] for _ in range(12))
    assert firsts == {("a", "spread"): 4, ("c", "spread"): 4, ("d", "spread"): 4}  # all share those of the drained one


@pytest.mark.parametrize("ring", [{"bound": 1.0}, RINGS[3]], ids=["bound", "hash_balance_factor"])
def test_a_full_owner_is_passed_over_by_those_who_are_nowhere(ring):
    pool = open_pool(NAMES, ring=ring)
    token = token_of(pool, "a")
    for number in range(20):
        pool.leases.open(b"other-%d" % number, number, "a")
        pool.backends["a"].active += 1
    found = next(pool.candidates(token, 0.0))
    assert found.reason == "bounded"
    assert found.backend.name != "a"
    assert ("a", "full") in found.skipped
    assert "a" in dict(told(pool, token))  # better full than none
    lease = pool.leases.open(token, "tab", "a")
    assert told(pool, token)[0] == ("a", "lease")
    pool.leases.close(lease, "tab", 0.0)
    assert told(pool, token, 1.0)[0] == ("a", "lease")
    pool.backends["a"].connect_failed(1.0)
    pool.backends["b"].held_until = 99.0
    assert told(pool, token, 2.0)[0][1] != "lease"
