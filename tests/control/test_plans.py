"""A plan says what then happens, user by user; and only as long as it still would."""

from collections import Counter
from dataclasses import replace

import pytest
from state import START, config, keeping, pin
from trio.testing import MockClock

from balancer.admin.routes.plans import plan_lines
from balancer.control.placement_controller import Outdated
from balancer.control.plans import KEPT, live_explanation, past_explanation
from balancer.errors import Refused
from balancer.overlay.overlay import Add, Remove, SetState, SetWeight, Unpin

WEIGHTS = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 1.0}
TOKENS = [b"token-%d" % number for number in range(300)]
RINGS = {
    "ring": {},
    "ketama": {"algorithm": "ketama"},
    "maglev": {"algorithm": "maglev", "table_size": 251},
    "haproxy": {"algorithm": "haproxy"},
    "haproxy consistent": {"algorithm": "haproxy", "hash_type": "consistent"},
    "rendezvous": {"algorithm": "rendezvous"},
}
DRAIN_A = SetState(backend="a", state="drain")
ADD_E = Add(name="e", address="10.9.9.9:1", weight=2.0)
CASES = {
    "weight": ([], [SetWeight(backend="a", weight=3.0)]),
    "weight while another drains": ([DRAIN_A], [SetWeight(backend="b", weight=0.5)]),
    "drain": ([], [DRAIN_A]),
    "maint after drain": ([DRAIN_A], [SetState(backend="a", state="maint")]),
    "ready": ([DRAIN_A], [SetState(backend="a", state="ready")]),
    "ready and weight": ([DRAIN_A], [SetState(backend="a", state="ready"), SetWeight(backend="c", weight=0.0)]),
    "added": ([], [ADD_E]),
    "added, then drained": ([ADD_E], [SetState(backend="e", state="drain"), SetState(backend="b", state="drain")]),
    "removed": ([ADD_E], [Remove(name="e"), Remove(name="a")]),
    "pinned": ([], "pin"),
    "unpinned": ("pin", "unpin"),
}


@pytest.fixture
def clock():
    return MockClock()


def made_of(controller, changes):
    if changes == "pin":
        return [pin(controller, token, "d") for token in TOKENS[:9]] + [pin(controller, b"token-1", "a", prefix=7)]
    if changes == "unpin":
        return [Unpin(digest=controller.digest(token)) for token in TOKENS[:9]]
    return changes


@pytest.mark.parametrize("ring", RINGS)
async def test_what_was_planned_happens(clock, ring):
    for case, (before, changes) in CASES.items():
        async with keeping(settings=config(WEIGHTS, RINGS[ring])) as controller:
            await as_planned(
                controller, made_of(controller, before), made_of(controller, changes), case, exact=ring == "ring"
            )


async def as_planned(controller, before, changes, case, *, exact):
    pool_state, plans = controller.pool_state("ide"), controller.plans
    if before:
        await controller.change("ide", before, "tests")
    for number, token in enumerate(TOKENS):
        for tab in range(1 + number % 3):
            pool_state.leases.open(token, (number, tab), "abcd"[number % 4])
    overlay, homes = pool_state.overlay, {token: pool_state.placement.home(token) for token in TOKENS}
    made = await plans.make("ide", changes)
    assert pool_state.overlay is overlay
    await plans.apply(made.plan.id, "tests")
    after = {token: pool_state.placement.home(token) for token in TOKENS}
    places = {token: "abcd"[number % 4] for number, token in enumerate(TOKENS)}
    moved = {token: (places[token], home) for token, home in after.items() if home not in (homes[token], places[token])}
    assert (case, made.moves) == (case, Counter(moved.values()))
    assert made.users == len(TOKENS)
    assert made.tunnels == sum(1 + number % 3 for number, token in enumerate(TOKENS) if token in moved)
    if exact and "pinned" not in case:  # the shares too, drained backends considered
        assert {(homes[token], after[token]) for token in moved} <= {
            (move.source, move.target) for move in made.plan.moves
        }


async def test_a_plan_of_a_ramp_shows_its_end(clock):
    async with keeping(settings=config(WEIGHTS)) as controller:
        made = await controller.plans.make("ide", [SetWeight(backend="a", weight=3.0, over=3600.0)])
        assert made.plan.after.weights["a"] == 3.0
        await controller.plans.make("ide", made.changes)
        assert made.changes[0].over == 3600.0


async def test_users_of_many_pairs_of_backends_are_summed_up(clock):
    async with keeping() as controller:
        made = await controller.plans.make("ide", [DRAIN_A])
        moves = Counter({(f"ide-{number}", f"ide-{number + 1}"): number for number in range(1, 31)})
        lines = "\n".join(plan_lines(replace(made, users=500, moves=moves)))
        assert "465 of 500 connected users" in lines
        assert "\n  ide-30 -> ide-31: 30\n" in lines
        assert "\n  10 other pairs: 55\n" in lines


async def test_an_outdated_plan_is_refused(clock):
    async with keeping() as controller:
        plans, pool_state = controller.plans, controller.pool_state("ide")
        made = await plans.make("ide", [DRAIN_A])
        await controller.change("ide", [pin(controller, b"ann", "b")], "tests")
        with pytest.raises(Outdated):
            await plans.apply(made.plan.id, "tests")
        assert "<svg" in plans.get(made.plan.id).picture
        assert not pool_state.overlay.states


async def test_a_plan_is_applied_once(clock):
    async with keeping() as controller:
        plans = controller.plans
        made = await plans.make("ide", [DRAIN_A])
        assert "<svg" in plans.get(made.plan.id).picture
        entry = await plans.apply(made.plan.id, "root")
        cut_after = entry.changes[0].cut_after  # by then it is known
        assert (entry.who, entry.changes) == ("root", (DRAIN_A.model_copy(update={"cut_after": cut_after}),))
        with pytest.raises(Refused, match="no such plan"):
            await plans.apply(made.plan.id, "root")


async def test_a_drain_begins_when_it_is_applied(clock):
    async with keeping() as controller:
        plans = controller.plans
        made = await plans.make("ide", [DRAIN_A])
        clock.jump(5000.0)
        await plans.apply(made.plan.id, "root")
        assert controller.pool_state("ide").overlay.states["a"].since == START + 5000.0


async def test_other_changes_are_another_plan_even_of_the_same_ring(clock):
    async with keeping(settings=config(pools=("ide", "other"))) as controller:
        plans = controller.plans
        asked = [
            [pin(controller, b"ann", "a")],
            [pin(controller, b"ann", "b")],
            [DRAIN_A],
            [SetState(backend="a", state="maint")],
        ]
        made = [await plans.make("ide", changes) for changes in asked] + [await plans.make("other", [DRAIN_A])]
        assert len({each.plan.id for each in made}) == 5
        await plans.apply(made[0].plan.id, "root")
        assert controller.pool_state("ide").placement.pinned(b"ann") == "a"


async def test_what_would_be_refused_makes_no_plan(clock):
    async with keeping() as controller:
        for changes in ([SetWeight(backend="gone", weight=1.0)], [Remove(name=name) for name in "abc"]):
            with pytest.raises(Refused):
                await controller.plans.make("ide", changes)


async def test_only_so_many_are_remembered(clock):
    async with keeping() as controller:
        plans = controller.plans
        ids = [(await plans.make("ide", [pin(controller, b"%d" % n, "a")])).plan.id for n in range(KEPT + 1)]
        with pytest.raises(Refused, match="no such plan"):
            plans.get(ids[0])
        assert plans.get(ids[1])


async def test_an_explanation_of_this_moment(clock):
    async with keeping() as controller:
        pool_state = controller.pool_state("ide")
        order = list(pool_state.ring.order(b"ann"))
        await controller.change("ide", [SetState(backend=order[0], state="drain")], "tests")
        pool_state.backends[order[1]].counts.held = 1
        found = live_explanation(pool_state, b"ann", 1.0)
        assert (found.rule, found.placed) == ("successor", order[2])
        skipped = [(each.backend, each.skipped) for each in found.candidates]
        assert skipped == [(order[0], "draining"), (order[1], "failed to connect"), (order[2], None)]
        pool_state.backends[order[1]].counts.held = 0
        pool_state.leases.open(b"ann", 1, order[1])
        assert live_explanation(pool_state, b"ann", 9.0).rule == "lease"


async def test_an_explanation_of_the_past(tmp_path, clock):
    async with keeping(tmp_path) as controller:
        ring = controller.pool_state("ide").ring
        order = list(ring.order(b"ann"))
        clock.jump(100.0)
        await controller.change("ide", [SetState(backend=order[0], state="maint")], "tests")
        clock.jump(100.0)
        await controller.change("ide", [pin(controller, b"ann", order[2], until=START + 250)], "tests")
        clock.jump(1000.0)
        expected = {0: order[0], 99: order[0], 100: order[1], 200: order[2], 249: order[2], 250: order[1]}
        for passed, backend in expected.items():
            found = await past_explanation(controller.pools, "ide", b"ann", START + passed)
            assert (passed, found.placed) == (passed, backend)
            assert (found.rule == "pin") == (backend == order[2])
            assert found.fingerprint == ring.fingerprint
        with pytest.raises(Refused, match="does not reach back"):
            await past_explanation(controller.pools, "ide", b"ann", START - 1)
