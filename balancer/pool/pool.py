"""A pool at run time: which backend a token goes to, and why."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from balancer.config.settings import PoolSettings
from balancer.health.availability import AVAILABLE, DEGRADED, Availability
from balancer.health.panic import healthy_share
from balancer.pool.backend import Backend
from balancer.pool.leases import Lease, Leases
from balancer.pool.load import BackendLoad
from balancer.pool.placement import Placement
from balancer.pool.retries import Retries
from balancer.pool.traffic import Traffic
from balancer.ring.bounded import bounded
from balancer.shared.counters import SharedCounters

FAILED = "failed to connect"
FULL = "full"
OWNERS_KEPT = 4096
"""Tokens whose owners are remembered; then all are forgotten, so that strange ones cost no more than memory."""


class Decision:
    """One candidate for a token: the backend, the rule that chose it, and who was passed over for what reason."""

    __slots__ = ("backend", "reason", "skipped")

    def __init__(self, backend: Backend, reason: str, skipped: tuple[tuple[str, str], ...]) -> None:
        self.backend = backend
        self.reason = reason
        """``pin``, ``lease``, ``owner``, ``successor``, ``bounded`` (one before was full), ``spread``, ``backup``; if
        all of these are left out ``degraded`` or ``panic``, which is also the reason for one that only panic lets in.
        """
        self.skipped = skipped


def _assign_slot(backend: Backend, load: BackendLoad[Any] | None) -> None:
    """Count the backend there from now on, and nowhere else."""
    if backend.load is not None:
        backend.load.clear()
        if load is not None:
            load.waiting = backend.load.waiting
    backend.load = load
    if load is not None:
        load.active.put(backend.active)
        load.queued.put(len(load.waiting))


def _spoken(config: PoolSettings) -> tuple[object, ...]:
    """How connections to its backends begin."""
    return config.tls, config.send_proxy, [(each.name, each.server_name) for each in config.backend]


def _bounds(config: PoolSettings) -> bool:
    return bool(config.ring.bound or config.ring.hash_balance_factor)


class Pool:
    """Backends, the placement over them, and the leases on them."""

    def __init__(
        self, config: PoolSettings, placement: Placement, availabilities: Mapping[str, Availability] | None = None
    ) -> None:
        self.name = config.name
        self.backends: dict[str, Backend] = {}
        self._shared_counters: SharedCounters | None = None
        self.leases = Leases(config.linger)
        self.decisions: Counter[str] = Counter()
        """Requests and connections placed, by reason."""
        self.traffic = Traffic()
        self.retries = Retries()
        self.refused = 0
        """Requests refused because their token made too many connections."""
        self._turns = count()
        self.config = config
        self._bounded = _bounds(config)
        self.place(placement, availabilities)

    def configure(self, config: PoolSettings) -> None:
        """Go by another configuration of the same pool; requests that wait for a backend keep their turn."""
        if _spoken(config) != _spoken(self.config):
            for backend in self.backends.values():
                backend.connection_key = object()
        self.config = config
        self._bounded = _bounds(config)
        self.leases.linger = config.linger
        self._reckon()
        self._take_seats()

    def place(self, placement: Placement, availabilities: Mapping[str, Availability] | None = None) -> None:
        """Decide by ``placement`` from now on. Backends that stay keep their state, whatever their address is now.

        ``availabilities`` are those of new backends; without one a backend is taken to be available.
        """
        new = availabilities or {}
        known, self.backends = self.backends, {}
        for name, address in placement.addresses.items():
            backend = self.backends[name] = known.get(name) or Backend(name, address, new.get(name, AVAILABLE))
            if backend.address != address:
                backend.address, backend.connection_key = address, object()
        for name in known.keys() - self.backends.keys():
            _assign_slot(known[name], None)
        self.placement = placement
        self._owned: dict[bytes, Decision] = {}
        self._reckon()
        self._take_seats()

    def share(self, shared_counters: SharedCounters) -> None:
        """Tell the other workers what the backends carry, and learn it from them."""
        self._shared_counters = shared_counters
        self._take_seats()

    def _take_seats(self) -> None:
        """Give backends their cells on the board, where a limit or a bound needs them."""
        if self._shared_counters is None:
            return
        limits = {each.name: each.max_connections for each in self.config.backend}
        for name, backend in self.backends.items():
            limit, load = limits.get(name), backend.load
            if limit is None:
                limit = self.config.max_connections
            slot = self.placement.slots[name] if limit or self._bounded else None
            if load is None or load.slot != slot:
                _assign_slot(backend, None if slot is None else BackendLoad(self._shared_counters, slot, limit))
            else:
                load.limit = limit
        self.leases.cells = {
            name: backend.load.users for name, backend in self.backends.items() if backend.load is not None
        }
        for name, cell in self.leases.cells.items():
            cell.put(self.leases.users[name])

    def stand(self, availabilities: Mapping[str, Availability]) -> None:
        """Take what is held of these backends now; without effect on those that have been removed."""
        for name, availability in availabilities.items():
            backend = self.backends.get(name)
            if backend is not None:
                if backend.availability.reason and not availability.reason:
                    backend.held_until = 0.0  # whatever kept users away is over
                backend.availability = availability
        self._reckon()

    def _reckon(self) -> None:
        """Work out how much of the weight is healthy: after every change of standings and weights."""
        placement = self.placement
        aside = {*placement.states, *placement.backups}
        members = (
            (weight, self.backends[name].availability)
            for name, weight in placement.weights.items()
            if name not in aside
        )
        self.healthy = healthy_share(members)
        # Who has named a backup wants it to be used rather than hosts that seem to be down.
        stand_in = any(
            self.backends[each].availability.clear for each in placement.backups if each not in placement.states
        )
        self.panic = self.healthy < self.config.health.panic_threshold and not stand_in

    def left_behind(self, lease: Lease, place: str) -> list[object]:
        """The user's tunnels that are not at ``place``, where the newest is: tabs on two hosts split files.

        The newest one is where a pin, maintenance or a dead host sent it that the older ones know nothing of. They are
        out of the lease now, and the caller's to end, so that they come back to where the newest is. With ``on_down =
        "keep"`` those on a host that is down are left alone, as it says.
        """
        elsewhere = set(lease.sessions.values()) - {place}
        if self.config.health.on_down == "keep":
            elsewhere -= {name for name in elsewhere if name in self.backends and self.backends[name].availability.down}
        return self.leases.leave(lease, elsewhere) if elsewhere else []

    def first(self, token: bytes | None, now: float) -> Decision | None:
        """The first of ``candidates`` in the everyday case: the lease or the owner, no operator having a say.

        None means: ask ``candidates``. A generator per request costs three times as much as the lookup itself.
        """
        placement = self.placement
        if token is None or placement.steered:
            return None
        lease = self.leases.get(token, now)
        if lease is not None:
            held = self.backends.get(lease.place)
            if held is None:
                return None
            decision = Decision(held, "lease", ())
        elif self._bounded:
            return None
        else:
            decision = self._owned.get(token) or self._own(token)
        backend = decision.backend
        return decision if backend.availability.clear and now >= backend.held_until else None

    def _own(self, token: bytes) -> Decision:
        """The decision for the token's owner, remembered: users come back, and hashing costs ten times a look-up."""
        owned = self._owned
        if len(owned) >= OWNERS_KEPT:
            owned.clear()
        decision = owned[token] = Decision(self.backends[self.placement.ring.owner(token)], "owner", ())
        return decision

    def candidates(
        self, token: bytes | None, now: float, after: Decision | None = None, why: str = FAILED
    ) -> Generator[Decision, str | None, None]:
        """Backends for the token, best first, each once; without a token (``None``) they take turns.

        The pin, the lease, the owner, then its successors on the ring, then the backups. Who should not be tried now is
        left out; when all others have been tried, those left out for their health only are tried too: first the
        ``degraded``, then the rest (``panic``), for a backend that failed a moment ago is better than none. ``after``
        is one that has been tried already, and ``why`` what came of it. Whoever asks for the next may ``send`` what
        came of the last, if not a failure to connect.
        """
        skipped: list[tuple[str, str]] = []
        degraded: list[str] = []
        unhealthy: list[str] = []
        lease = self.leases.get(token, now) if token is not None else None
        for name, rule, full in self._rules(token, lease, now):
            if skipped and any(name == seen for seen, _ in skipped):
                continue
            backend = self.backends.get(name)
            if backend is None:  # a lease on a backend that has been removed
                continue
            if after is not None and backend is after.backend:
                skipped.append((name, why))
                continue
            if reason := self._refuses(backend, lease):
                pass
            elif reason := self.left_out(backend, lease, now, health=not self.panic):
                (degraded if reason == DEGRADED else unhealthy).append(name)
            else:
                if self.panic and self.left_out(backend, lease, now):
                    rule = "panic"
                # Nobody would ask for the next one if this one served.
                reason = (yield Decision(backend, rule, (*skipped, *((other, FULL) for other in full)))) or FAILED
            skipped.append((name, reason))
        for name in degraded + unhealthy:
            backend = self.backends.get(name)
            if backend is not None and not self._refuses(backend, lease):  # trying the others took time
                yield Decision(backend, "degraded" if name in degraded else "panic", tuple(skipped))

    def _carried(self, name: str) -> int:
        """What counts against the bound of a backend: its users; haproxy counts streams."""
        backend = self.backends[name]
        load = backend.load
        if self.config.ring.bound:
            return self.leases.users[name] if load is None else load.users.total()
        return backend.active if load is None else load.active.total()

    def left_out(self, backend: Backend, lease: Lease | None, now: float, *, health: bool = True) -> str:
        """Why the holder of ``lease`` is better placed elsewhere, or an empty string.

        The orders of operators are left aside, and ``health`` as well if that is to be ignored.
        """
        availability, tunnels = backend.availability, lease is not None and lease.holds(backend.name)
        ill = availability.ill(tunnels=tunnels) if health else ""
        return ill or backend.held_off(now) or availability.unwilling(tunnels=tunnels)

    def _refuses(self, backend: Backend, lease: Lease | None) -> str:
        """Why nothing may be sent there at all: an operator says so, or the host's own agent."""
        if why := self.placement.refuses(backend.name, lease):
            return why
        return backend.availability.unwilling(tunnels=True)

    def _rules(self, token: bytes | None, lease: Lease | None, now: float) -> Iterator[tuple[str, str, Iterable[str]]]:
        """Every backend with the rule that names it, in the order of the rules; some more than once.

        The third is who else would come first, were it not full.
        """
        placement = self.placement
        if token is None:
            members = placement.ring.members
            first = next(self._turns) % len(members)
            for name in members[first:] + members[:first]:
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

    def _with_room(self, token: bytes, now: float) -> Iterator[tuple[str, str, Iterable[str]]]:
        """For a token without a live place, under bounded load: every usable backend, and the others on the way.

        Each is chosen as if those before it were not there, so that a backend known to be down and one found to be
        down have the same substitute.
        """
        tried: set[str] = set()
        while True:
            ring = self.placement.ring
            usable = [
                name
                for name in ring.members
                if name not in tried
                and not self._refuses(self.backends[name], None)
                and not self.left_out(self.backends[name], None, now, health=not self.panic)
            ]
            if not usable:
                return
            load = {name: self._carried(name) for name in ring.members}
            chosen = next(bounded(ring, token, self.config.ring, load, usable))
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
