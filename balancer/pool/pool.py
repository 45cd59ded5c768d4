"""A pool at run time: which backend a token goes to, and why."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final

from balancer.config.settings import PoolSettings
from balancer.health.availability import AVAILABLE, Availability
from balancer.http.fields import fields_of
from balancer.http.token import TokenRule
from balancer.pool.backend import Backend
from balancer.pool.load import BackendLoad
from balancer.pool.placement import Placement
from balancer.pool.retries import Retries
from balancer.pool.selection import Decision, Selection
from balancer.pool.traffic import Traffic
from balancer.shared.compiled import mypyc_attr
from balancer.shared.counters import CellGroup, Kind, SharedCounters

OWNERS_KEPT: Final = 4096
"""Size of the cache of owners. It is cleared when full, as clients may send any tokens."""
MAX_CACHED_TOKEN: Final = 2048
"""Bytes of the longest token that is kept in a cache: full ones take 8 MiB at most."""


def _assign_slot(backend: Backend, load: BackendLoad[Any] | None) -> None:
    """Count the backend in these cells from now on, and in no others."""
    if backend.load is not None:
        backend.load.clear()
        if load is not None:
            load.waiting = backend.load.waiting
    backend.load = load
    if load is not None:
        load.active.put(backend.active)
        load.queued.put(len(load.waiting))


def _connection_settings(settings: PoolSettings) -> tuple[object, ...]:
    """Return what connections to the backends depend on."""
    return settings.tls, settings.send_proxy, [(each.name, each.server_name) for each in settings.backend]


@mypyc_attr(allow_interpreted_subclasses=True)
class Pool(Selection[Backend]):
    """One per pool; a reload changes it in place."""

    def __init__(
        self, settings: PoolSettings, placement: Placement, availabilities: Mapping[str, Availability] | None = None
    ) -> None:
        super().__init__(settings, placement, {})
        self._compile_settings()
        self.name = settings.name
        self._shared_counters: SharedCounters | None = None
        self.decisions: dict[str, int] = {}
        """Requests and connections placed, by reason."""
        self.places: dict[str, int] = {}
        """Requests by the place where their token was; ``none`` for those without one."""
        self.cookies: Counter[str] = Counter()
        """What became of the cookies that remember users; see ``balancer.proxy.remembering``."""
        self.traffic = Traffic()
        self.retries = Retries()
        self.refused = 0
        """Requests refused because their token made too many connections."""
        self.removed: dict[str, Backend] = {}
        """Backends that are gone from the placement and still carried something then: what they count goes on."""
        self._held: set[Backend] = set()
        """Backends that failed to connect; others may come before them for a moment."""
        self._counted: Collection[str] | None = None
        """The names of the backends in ``_cells``."""
        self._cells: CellGroup | None = None
        self.place(placement, availabilities)

    def configure(self, settings: PoolSettings) -> None:
        """Use other settings of the same pool; requests that wait for a backend keep their turn."""
        if _connection_settings(settings) != _connection_settings(self.settings):
            for backend in self.backends.values():
                backend.connection_key = object()
        self.settings = settings
        self._compile_settings()
        self.leases.linger = settings.linger
        self.weigh_health()
        self._take_slots()

    def _compile_settings(self) -> None:
        self.request_fields = fields_of(self.settings.request_fields)
        self.response_fields = fields_of(self.settings.response_fields)
        self.token_rule = TokenRule(self.settings.token)
        self.tier = self.settings.tier
        self.shares_connections = self.settings.send_proxy == "off"
        """Whether a connection to a backend may carry the requests of several clients."""

    def place(self, placement: Placement, availabilities: Mapping[str, Availability] | None = None) -> None:
        """Decide by ``placement`` from now on. Backends that stay keep their state, whatever their address is now.

        So do backends that return while they still carry something. ``availabilities`` are those of new backends;
        without one a backend is taken to be available.
        """
        new = availabilities or {}
        known, self.backends = self.carrying(), {}
        for name, address in placement.addresses.items():
            backend = known.get(name) or Backend(name, address, AVAILABLE, self._held)
            if name not in known or name in self.removed:
                backend.availability = new.get(name, AVAILABLE)
            if backend.address != address:
                backend.address, backend.connection_key = address, object()
            self.backends[name] = backend
        self.removed = {name: backend for name, backend in known.items() if name not in self.backends}
        for backend in self.removed.values():
            _assign_slot(backend, None)
        self.placement = placement
        self._steered = placement.steered
        self._owned: dict[bytes, Decision[Backend]] = {}
        self.weigh_health()
        self._take_slots()

    def carrying(self) -> dict[str, Backend]:
        """Return all backends to count: also removed ones that still carry requests or tunnels."""
        return {**{name: backend for name, backend in self.removed.items() if backend.active}, **self.backends}

    @property
    def busy(self) -> bool:
        """Whether a backend carries anything."""
        return any(backend.active for backend in self.carrying().values())

    def withdraw(self) -> None:
        """Stop using shared counters: the pool is removed, and lives on with the connections it still has."""
        for backend in self.backends.values():
            _assign_slot(backend, None)
        self.leases.cells = {}
        self._cells = self._shared_counters = None

    def share(self, shared_counters: SharedCounters) -> None:
        """Use shared counters, so that all workers know what the backends carry."""
        self._shared_counters = shared_counters
        self._take_slots()

    def _take_slots(self) -> None:
        """Give backends their shared counters, where a limit or a bound needs them."""
        self._counted = None
        if self._shared_counters is None:
            return
        limits = {each.name: each.max_connections for each in self.settings.backend}
        for name, backend in self.backends.items():
            limit, load = limits.get(name), backend.load
            if limit is None:
                limit = self.settings.max_connections
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

    def update_availability(self, availabilities: Mapping[str, Availability]) -> None:
        """Use these availabilities from now on; without effect for backends that have been removed."""
        for name, availability in availabilities.items():
            backend = self.backends.get(name)
            if backend is not None:
                if backend.availability.reason and not availability.reason:
                    backend.held_until = 0.0  # the reason why it was avoided is over
                backend.availability = availability
        self.weigh_health()

    def first(self, token: bytes | None, now: float) -> Decision[Backend] | None:
        """Return the first of ``candidates`` in the usual case: the lease or the owner, with no changes of operators.

        In any other case return None: use ``candidates``. A generator per request costs three times as much as the
        look-up itself.
        """
        if token is None or self._steered:
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

    def _own(self, token: bytes) -> Decision[Backend]:
        """Return the decision for the token's owner, and cache it: hashing costs ten times as much as a look-up."""
        owned = self._owned
        decision = Decision(self.backends[self.placement.ring.owner(token)], "owner", ())
        if len(token) <= MAX_CACHED_TOKEN:
            if len(owned) >= OWNERS_KEPT:
                owned.clear()
            owned[token] = decision
        return decision

    def carried(self, name: str) -> int:
        """Return what counts against the bound of a backend: its users; haproxy counts streams."""
        backend = self.backends[name]
        load = backend.load
        if self.settings.ring.bound:
            return self.leases.users[name] if load is None else load.users.total()
        return backend.active if load is None else load.active.total()

    def carried_by(self, names: Collection[str]) -> int:
        """Return the sum of what these backends carry; fast if they are the same as the last time."""
        if self._shared_counters is None:
            return super().carried_by(names)
        if names is not self._counted or self._cells is None:
            kind = Kind.USERS if self.settings.ring.bound else Kind.ACTIVE
            slots = self.placement.slots
            self._cells = self._shared_counters.group(kind, [slots[name] for name in names])
            self._counted = names
        return self._cells.total()

    def held(self, now: float) -> Collection[str]:
        """Return the backends that others come before for a moment."""
        for backend in [backend for backend in self._held if not backend.held_off(now)]:
            self._held.discard(backend)
        return [backend.name for backend in self._held]
