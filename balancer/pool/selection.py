"""Selection: the backends of a pool in the order in which a token should try them, and why.

The same rules decide in the workers, which connect to backends, and in control, which explains placements and moves
users. So they are written once, for anything that represents a backend (``Member``).
"""

from abc import abstractmethod
from collections.abc import Collection, Generator, Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

from balancer.config.settings import PoolSettings
from balancer.health.availability import DEGRADED, Availability
from balancer.health.panic import healthy_share
from balancer.pool.leases import Lease, Leases
from balancer.pool.placement import Placement
from balancer.pool.rotation import Rotation
from balancer.ring.base import Ring
from balancer.ring.bounded import Bound
from balancer.shared.compiled import mypyc_attr

FAILED: Final = "failed to connect"
FULL: Final = "full"


class Member(Protocol):
    """What the rules need to know of a backend."""

    name: str
    availability: Availability

    def held_off(self, now: float) -> str:
        """Return why others come first for a moment, or an empty string."""


M = TypeVar("M", bound=Member)


class Decision(Generic[M]):
    """One candidate for a token: the backend, the rule that chose it, and which others were skipped for what reason."""

    __slots__ = ("backend", "reason", "skipped")

    def __init__(self, backend: M, reason: str, skipped: tuple[tuple[str, str], ...]) -> None:
        self.backend = backend
        self.reason = reason
        """``pin``, ``lease``, ``owner``, ``successor``, ``bounded`` (one before was full), ``spread``, ``backup``; if
        all of these are left out ``degraded`` or ``panic``, which is also the reason for one that only panic lets in.
        """
        self.skipped = skipped


@mypyc_attr(allow_interpreted_subclasses=True)
class Selection(Generic[M]):
    """Backends, the placement over them, and the leases on them."""

    def __init__(self, settings: PoolSettings, placement: Placement, backends: dict[str, M]) -> None:
        self.settings = settings
        self.placement = placement
        self.backends = backends
        self.leases = Leases(settings.linger)
        self.healthy = 1.0
        """Share of the weight that is healthy."""
        self.panic = False
        """So little of it is healthy that health is ignored: see ``health.panic``."""
        self._rotation: tuple[Ring, Rotation] | None = None
        """The turns of requests without a token, and the ring whose weights they have."""
        self._bounded = False
        self._bound: Bound | None = None
        """Under bounded load, the room on all backends that are usable, until that changes."""
        self._bound_without: tuple[frozenset[str], Bound] | None = None
        """The same without some, as long as these are the same."""

    @abstractmethod
    def carried(self, name: str) -> int:
        """Return what counts against the bound of a backend: its users; as in haproxy, its streams."""

    def carried_by(self, names: Collection[str]) -> int:
        """Return the sum of what these backends carry."""
        return sum(map(self.carried, names))

    def held(self, now: float) -> Collection[str]:
        """Return the backends that others come before for a moment."""
        return [name for name, backend in self.backends.items() if backend.held_off(now)]

    def weigh_health(self) -> None:
        """Work out how much of the weight is healthy: after every change of settings, placement or availability."""
        placement = self.placement
        self._bounded = bool(self.settings.ring.bound or self.settings.ring.hash_balance_factor)
        self._bound = self._bound_without = None
        aside = {*placement.states, *placement.backups}
        weighed = (
            (weight, self.backends[name].availability)
            for name, weight in placement.weights.items()
            if name not in aside
        )
        self.healthy = healthy_share(weighed)
        # A backup was named to be used rather than hosts that seem to be down.
        backups = (self.backends[name] for name in placement.backups if name not in placement.states)
        stand_in = any(each.availability.clear for each in backups)
        self.panic = self.healthy < self.settings.health.panic_threshold and not stand_in

    def left_behind(self, lease: Lease, place: str) -> list[object]:
        """Take the user's tunnels that are not at ``place``, where the newest is, out of the lease, and return them.

        Tabs on two hosts split files. The newest tunnel is where a pin, maintenance or a dead host sent it, of which
        the older ones know nothing. The caller ends them, and they come back to where the newest is. With ``on_down =
        "keep"`` those on a host that is down are left alone.
        """
        elsewhere = set(lease.sessions.values()) - {place}
        if self.settings.health.on_down == "keep":
            elsewhere -= {name for name in elsewhere if name in self.backends and self.backends[name].availability.down}
        return self.leases.leave(lease, elsewhere) if elsewhere else []

    def candidates(
        self, token: bytes | None, now: float, after: Decision[M] | None = None, why: str = FAILED
    ) -> Generator[Decision[M], str | None, None]:
        """Yield backends for the token, best first, each once; without a token (``None``) they take turns.

        The pin, the lease, the owner, then its successors on the ring, then the backups. Those that should not be tried
        now are left out; when all others have been tried, those left out for their health only are tried too: first the
        ``degraded``, then the rest (``panic``), for a backend that failed a moment ago is better than none. With a
        panic threshold of 0 those that are down or ejected are never tried. ``after`` is one that has been tried
        already, and ``why`` its outcome. The caller may ``send`` the outcome of the last one if it is not a failure to
        connect.
        """
        skipped: dict[str, str] = {}
        degraded: list[str] = []
        unhealthy: list[str] = []
        lease = self.leases.get(token, now) if token is not None else None
        for name, rule, full in self._rules(token, lease, now):
            if name in skipped:
                continue
            backend = self.backends.get(name)
            if backend is None:  # a lease on a backend that has been removed
                continue
            if after is not None and backend is after.backend:
                skipped[name] = why
                continue
            if reason := self.refuses(backend, lease):
                pass
            elif reason := self.left_out(backend, lease, now, health=not self.panic):
                (degraded if reason == DEGRADED else unhealthy).append(name)
            else:
                if self.panic and self.left_out(backend, lease, now):
                    rule = "panic"
                # The next one is only needed if this one has failed.
                passed_over = (*skipped.items(), *((other, FULL) for other in full))
                reason = (yield Decision(backend, rule, passed_over)) or FAILED
            skipped[name] = reason
        for name in degraded + unhealthy:
            backend = self.backends.get(name)
            if backend is not None and not self._excluded(backend, lease):  # trying the others took time
                yield Decision(backend, "degraded" if name in degraded else "panic", tuple(skipped.items()))

    def takes_new(self, name: str, now: float) -> bool:
        """Return whether a new user may be placed on a backend now."""
        placement, backend = self.placement, self.backends[name]
        if placement.refuses(name, None) or self.left_out(backend, None, now):
            return False
        if name in placement.ring.weights:
            return True
        before = placement.backups[: placement.backups.index(name)] if name in placement.backups else None
        return before is not None and not any(self.takes_new(each, now) for each in (*placement.ring.members, *before))

    def left_out(self, backend: M, lease: Lease | None, now: float, *, health: bool = True) -> str:
        """Return why the holder of ``lease`` is better placed elsewhere, or an empty string.

        What operators ordered is not considered, nor is ``health`` if that is to be ignored.
        """
        availability, tunnels = backend.availability, lease is not None and lease.holds(backend.name)
        ill = availability.ill(tunnels=tunnels) if health else ""
        return ill or backend.held_off(now) or availability.unwilling(tunnels=tunnels)

    def refuses(self, backend: M, lease: Lease | None) -> str:
        """Return why nothing may be sent there at all, by order of an operator or of the host's own agent."""
        return self.placement.refuses(backend.name, lease) or backend.availability.unwilling(tunnels=True)

    def _excluded(self, backend: M, lease: Lease | None) -> bool:
        """Return whether it takes nobody even if no other is left: by order, or it failed and panic is turned off."""
        failed = backend.availability.down or backend.availability.ejected
        return bool(self.refuses(backend, lease) or (failed and not self.settings.health.panic_threshold))

    def _rules(self, token: bytes | None, lease: Lease | None, now: float) -> Iterator[tuple[str, str, Iterable[str]]]:
        """Yield every backend with the rule that names it, in the order of the rules; some more than once.

        The third value names the backends that would come first, were they not full.
        """
        placement = self.placement
        if token is None:
            for name in self._in_turn(now):
                yield name, "spread", ()
            for name in placement.backups:
                yield name, "backup", ()
            return
        if placement.pins or placement.prefixes:
            pinned = placement.pinned(token)
            if pinned is not None:
                yield pinned, "pin", ()
        if lease is not None:
            for name in lease.places():
                yield name, "lease", ()
        if self._bounded and (lease is None or not (lease.sessions or lease.connected)):
            yield from self._with_room(token, now)
        rule = "owner"
        for name in placement.ring.order(token):
            yield name, rule, ()
            rule = "successor"
        for name in placement.backups:
            yield name, "backup", ()

    def _in_turn(self, now: float) -> Iterator[str]:
        """Yield every backend of the ring: those whose turns have come, up to the first that is usable, then the rest.

        The turns of those that are not usable are lost, so that all others share them.
        """
        ring = self.placement.ring
        if self._rotation is None or self._rotation[0] is not ring:
            self._rotation = ring, Rotation({name: ring.weights[name] for name in ring.members})
        rotation = self._rotation[1]
        name = rotation.next()
        for _ in ring.members:
            backend = self.backends[name]
            if not (self.refuses(backend, None) or self.left_out(backend, None, now, health=not self.panic)):
                break
            yield name
            name = rotation.next()
        at = ring.members.index(name)
        yield from ring.members[at:] + ring.members[:at]

    def _with_room(self, token: bytes, now: float) -> Iterator[tuple[str, str, Iterable[str]]]:
        """Yield, for a token without a live place under bounded load, every usable backend, and the others on the way.

        Each is chosen as if those before it were not there, so that a backend known to be down and one found to be
        down have the same substitute.
        """
        tried: set[str] = set()
        while True:
            bound = self._room(frozenset(tried.union(self.held(now))))
            if not bound.usable:
                return
            ring, total = bound.ring, self.carried_by(bound.counted)
            chosen = bound.choose(token, self.carried, total)
            full = []
            for name in ring.order(token):
                if name == chosen:
                    break
                if name in bound.usable:
                    full.append(name)
                else:
                    yield name, "owner", ()
            yield chosen, "bounded" if full else "owner" if chosen == ring.owner(token) else "successor", full
            tried.add(chosen)

    def _room(self, without: frozenset[str]) -> Bound:
        """Return the room on the backends that are usable, ``without`` some."""
        ring, settings, bound = self.placement.ring, self.settings.ring, self._bound
        if bound is None:
            usable = [name for name in ring.members if self._usable(self.backends[name])]
            bound = self._bound = Bound(ring, settings, usable)
        if without.isdisjoint(bound.usable):
            return bound
        if self._bound_without is None or self._bound_without[0] != without:
            rest = [name for name in bound.usable if name not in without]
            self._bound_without = without, Bound(ring, settings, rest)
        return self._bound_without[1]

    def _usable(self, backend: M) -> bool:
        """Return whether new users may be placed there; it may be held off for a moment, though."""
        availability = backend.availability
        ill = "" if self.panic else availability.ill(tunnels=False)
        return not (self.refuses(backend, None) or ill or availability.unwilling(tunnels=False))
