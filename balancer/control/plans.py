"""Plan changes on the running daemon: what they would do to shares and to the users connected now.

A plan compares the rings as they place new users: backends that drain or are in maint are left out of both. It is bound
to the ring and overlay it was made on, and can be applied only while these are still active.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import trio

from balancer.config.pool import PoolConfig
from balancer.control.compute import compute
from balancer.control.evictions import CHUNK
from balancer.control.placement import make_placement
from balancer.control.placement_controller import PlacementController
from balancer.control.pool_state import PoolState, addresses, extended
from balancer.control.pools import Pools
from balancer.errors import Refused
from balancer.overlay.entries import Entry, RingRecord, configured_weights
from balancer.overlay.overlay import Change, Overlay
from balancer.pool.placement import Placement
from balancer.ring.base import Ring
from balancer.ring.build import build
from balancer.ring.explain import Candidate, Explanation, explain
from balancer.ring.picture import svg
from balancer.ring.plan import Plan, plan

KEPT = 32
"""Plans kept for ``apply``."""


@dataclass(frozen=True)
class LivePlan:
    """A plan, and the connected users that it affects."""

    pool: str
    changes: tuple[Change, ...]
    plan: Plan
    based_on: str
    """Version of the pool it was made on."""
    moves: Counter[tuple[str, str]]
    """Connected users whose home changes to one where they are not, by where they are and that home.

    They stay where they are while they are connected.
    """
    users: int
    """Connected users."""
    tunnels: int
    """Open tunnels of those users."""
    picture: str
    """The change of the ring as SVG: drawn at once, because the rings are too large to be kept."""


class Plans:
    """Makes plans and applies them."""

    def __init__(self, pools: Pools, controller: PlacementController, wall: Callable[[], float]) -> None:
        self._pools = pools
        self._controller = controller
        self._wall = wall
        self._plans: dict[str, LivePlan] = {}

    async def make(self, pool: str, changes: Sequence[Change], target: RingRecord | None = None) -> LivePlan:
        """Plan ``changes``, or the ring and backends of another configuration. Nothing is changed.

        Raise ``Refused`` for changes that would be refused.
        """
        pool_state = self._pools.get(pool)
        based_on, before_overlay = pool_state.version, pool_state.overlay
        now = self._wall()
        overlay = before_overlay
        for change in changes:
            overlay = overlay.apply(_settled(change), pool_state.configured, now)
        config, then = pool_state.config, _configured(pool_state, target)
        before, before_new = await self._rings(pool_state, before_overlay, config)
        after, after_new = await self._rings(pool_state, overlay, then)
        # Drain, maint and removal may make the same ring: the id stands for the changes, not only for what they make.
        identity = "\n".join([pool, based_on, *(change.model_dump_json() for change in changes), repr(target)])
        comparison = await compute(plan, before_new, after_new, identity)
        picture = await compute(svg, before_new, after_new, comparison)
        now, digest = self._wall(), self._pools.digest
        old = make_placement(before, addresses(config, before_overlay), before_overlay, digest, now)
        new = make_placement(after, addresses(then, overlay), overlay, digest, now)
        moves, users, tunnels = await _count(pool_state, old, new)
        made = LivePlan(pool, tuple(changes), comparison, based_on, moves, users, tunnels, picture)
        self._plans[comparison.id] = made
        while len(self._plans) > KEPT:
            del self._plans[next(iter(self._plans))]
        return made

    def get(self, plan_id: str) -> LivePlan:
        """Return a plan. Raise ``Refused`` if it is unknown."""
        made = self._plans.get(plan_id)
        if made is None:
            raise Refused("there is no such plan here; make one with `balancer ring plan` and apply it soon")
        return made

    async def apply(self, plan_id: str, who: str) -> Entry:
        """Apply a plan. Raise ``Refused`` if it is unknown or the ring has changed since."""
        made = self.get(plan_id)
        if not made.changes:
            raise Refused(
                "this plan is for a configuration file: replace the daemon's file with it, and reload or restart"
            )
        entry = await self._controller.change(made.pool, made.changes, who, only_at=made.based_on)
        self._plans.pop(plan_id, None)
        return entry

    async def _rings(self, pool_state: PoolState, overlay: Overlay, config: PoolConfig) -> tuple[Ring, Ring]:
        """Return the ring of an overlay, and the one of the backends that take new users."""
        ring = await self._controller.ring_of(pool_state, overlay, config)
        if not overlay.states:
            return ring, ring
        return ring, await self._controller.ring_of(pool_state, overlay, config, effective=True)


def _configured(pool_state: PoolState, target: RingRecord | None) -> PoolConfig:
    """Return the configuration of the pool with the ring and backends of another one."""
    if target is None:
        return pool_state.config
    return pool_state.config.model_copy(update={"ring": target.ring, "backend": target.backends})


async def _count(pool_state: PoolState, old: Placement, new: Placement) -> tuple[Counter[tuple[str, str]], int, int]:
    """Count users to be moved, by where they are and their new home; all connected users; tunnels of the former."""
    moves: Counter[tuple[str, str]] = Counter()
    users = tunnels = 0
    for lease in pool_state.leases.live():
        users += 1
        if users % CHUNK == 0:
            await trio.lowlevel.checkpoint()
        home = new.home(lease.token)
        # Users who are not at home now may already be where the plan sends them.
        if home not in (old.home(lease.token), lease.place):
            moves[lease.place, home] += 1
            tunnels += len(lease.sessions)
    return moves, users, tunnels


def live_explanation(pool_state: PoolState, token: bytes, now: float) -> Explanation:
    """Explain where a token goes at ``now``, on the data plane's clock, rule by rule."""
    skipped: dict[str, str] = {}
    chosen, rule = None, None
    for decision in pool_state.candidates(token, now):
        chosen, rule = decision.backend.name, decision.reason
        skipped = dict(decision.skipped)
        break
    on_ring = explain(pool_state.ring, token)
    candidates = tuple(
        Candidate(each.backend, skipped.get(each.backend) or pool_state.placement.refuses(each.backend, None) or None)
        for each in on_ring.candidates
    )
    return replace(on_ring, candidates=candidates, rule=rule, overridden=chosen)


async def past_explanation(pools: Pools, pool: str, token: bytes, at: float) -> Explanation:
    """Return where a token belonged at Unix time ``at``, from the journal: by pins, states and weights only."""
    pool_state = pools.get(pool)
    state = await trio.to_thread.run_sync(pools.journal.state_at, pool, at)
    if state is None:
        raise Refused("the journal does not reach back that far")
    config, overlay = state
    then = pool_state.config.model_copy(update={"ring": config.ring, "backend": config.backends})
    weights = overlay.live_weights(configured_weights(config), at)
    ring = await compute(build, extended(then, overlay), weights)
    placement = make_placement(ring, addresses(then, overlay), overlay, pools.digest, at)
    on_ring = explain(ring, token)
    pinned = placement.pinned(token)
    candidates = tuple(
        Candidate(each.backend, placement.refuses(each.backend, None) or None) for each in on_ring.candidates
    )
    return replace(
        on_ring,
        candidates=candidates,
        rule="pin" if pinned is not None and pinned not in placement.states else None,
        overridden=placement.home(token),
    )


def _settled(change: Change) -> Change:
    """Return the overlay with all ramps at their end: plans show that."""
    if change.op == "weight" and change.over:
        return change.model_copy(update={"over": 0.0})
    return change
