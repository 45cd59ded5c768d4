"""All that decides where a token goes at one moment: the ring, and the changes of operators on top of it. Immutable.

The data plane has one ``Placement`` per pool and replaces it when control publishes another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from balancer.config.scalars import Address
from balancer.health.availability import Availability
from balancer.overlay.states import State
from balancer.pool.leases import Lease
from balancer.ring.base import Ring


@dataclass(frozen=True)
class Placement:
    """``pins`` maps the digest of a token to a backend; ``prefixes`` does so for prefixes, by length, longest first."""

    ring: Ring
    addresses: Mapping[str, Address]
    """Addresses of all backends, including those that are not on the ring."""
    digest: Callable[[bytes], str]
    pins: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[tuple[int, Mapping[str, str]], ...] = ()
    states: Mapping[str, State] = field(default_factory=dict)
    """States of the backends that are not ready."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """The weights that operators have set; the ring may give a backend less for a while."""
    backups: tuple[str, ...] = ()
    """Backends that stand in, in this order, when no other can be used. They are not on the ring."""
    slots: Mapping[str, int] = field(default_factory=dict)
    """The slot of each backend in the shared counters."""

    @cached_property
    def steered(self) -> bool:
        """Whether an operator has changed anything that may override the ring."""
        return bool(self.pins or self.prefixes or self.states)

    def refuses(self, backend: str, lease: Lease | None) -> str:
        """Return why an operator does not allow the holder of ``lease`` on ``backend``, or an empty string."""
        state = self.states.get(backend)
        if state is None:
            return ""
        if state == "maint":
            return "in maint"
        return "" if lease is not None and lease.holds(backend) else "draining"

    def pinned(self, token: bytes) -> str | None:
        """Return the backend that the token is pinned to, by the whole token or else by its longest pinned prefix."""
        if self.pins and (backend := self.pins.get(self.digest(token))):
            return backend
        for length, pins in self.prefixes:
            if len(token) >= length and (backend := pins.get(self.digest(token[:length]))):
                return backend
        return None

    def prepare(self, availabilities: Mapping[str, Availability]) -> None:
        """Work out what tokens of unavailable backends will need, if that takes long: to be called in a thread."""
        self.ring.prepare([name for name, availability in availabilities.items() if availability.out])

    def home(self, token: bytes) -> str:
        """Return where the token belongs, health and tunnels aside: its pin, or the first ready backend on the ring."""
        pinned = self.pinned(token)
        if pinned is not None and pinned not in self.states:
            return pinned
        owner = self.ring.owner(token)
        if owner not in self.states:
            return owner
        return next((name for name in self.ring.order(token) if name not in self.states), owner)
