"""What decides where a token goes, as of one moment: the ring and the overlay's answer to it. Immutable.

The data plane holds one ``Placement`` per pool and swaps it by assignment when control makes another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from balancer.pool.leases import Lease
from balancer.ring.base import Ring
from balancer.ring.overlay import Overlay, State


@dataclass(frozen=True)
class Placement:
    """``pins`` maps the digest of a token to a backend; ``prefixes`` does so for prefixes, by length, longest first."""

    ring: Ring
    digest: Callable[[bytes], str]
    pins: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[tuple[int, Mapping[str, str]], ...] = ()
    states: Mapping[str, State] = field(default_factory=dict)
    """Backends that are not ready."""
    closing: frozenset[str] = frozenset()
    """Draining backends whose time is up: their users with live tunnels go elsewhere too."""

    @classmethod
    def of(cls, ring: Ring, overlay: Overlay, digest: Callable[[bytes], str], drain: float, now: float) -> "Placement":
        """The placement of ``overlay`` on ``ring`` at Unix time ``now``; ``drain`` is how long a drain lasts."""
        by_length: dict[int, dict[str, str]] = {}
        pins: dict[str, str] = {}
        for pin in overlay.pins.values():
            if pin.until is not None and pin.until <= now:
                continue
            (pins if pin.prefix is None else by_length.setdefault(pin.prefix, {}))[pin.digest] = pin.backend
        over = {name for name, change in overlay.states.items() if change.since + drain <= now}
        return cls(
            ring,
            digest,
            pins,
            tuple(sorted(by_length.items(), reverse=True)),
            {name: change.state for name, change in overlay.states.items()},
            frozenset(over),
        )

    def refuses(self, backend: str, lease: Lease | None) -> str:
        """Why the holder of ``lease`` may not be placed on ``backend`` by order of an operator, or an empty string."""
        state = self.states.get(backend)
        if state is None:
            return ""
        if state == "maint":
            return "in maint"
        stays = lease is not None and backend in lease.sessions.values() and backend not in self.closing
        return "" if stays else "draining"

    def pinned(self, token: bytes) -> str | None:
        """The backend the token is pinned to: by its whole, else by its longest pinned prefix."""
        if self.pins and (backend := self.pins.get(self.digest(token))):
            return backend
        for length, pins in self.prefixes:
            if len(token) >= length and (backend := pins.get(self.digest(token[:length]))):
                return backend
        return None
