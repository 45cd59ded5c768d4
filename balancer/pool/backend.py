"""One backend at run time: whether it may be tried, and what it has carried."""

from operator import attrgetter
from typing import Any, ClassVar, Final

from balancer.config.scalars import Address
from balancer.health.availability import AVAILABLE, Availability
from balancer.health.ejection import Ejection
from balancer.health.tally import Tally
from balancer.pool.load import BackendLoad

HOLD_OFF: Final = 5.0
"""Seconds for which a backend that failed to connect is not tried before others; more if that happens often."""
LONGEST_HOLD_OFF: Final = 60.0


class Backend:
    """State and counters of one backend; identity is the name, so a changed address keeps them."""

    __slots__ = (
        "_held",
        "_setbacks",
        "active",
        "address",
        "availability",
        "bytes_in",
        "bytes_out",
        "connect_errors",
        "connection_key",
        "connects",
        "full",
        "held_until",
        "load",
        "name",
        "requests",
        "response_errors",
        "tally",
        "tunnels",
    )

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "requests",
        "connects",
        "connect_errors",
        "response_errors",
        "full",
        "bytes_in",
        "bytes_out",
    )
    """Attributes that only grow, to be added up over workers; ``GAUGES`` come and go."""
    GAUGES: ClassVar[tuple[str, ...]] = ("active", "tunnels", "queued", "held")

    def __init__(
        self,
        name: str,
        address: Address,
        availability: Availability = AVAILABLE,
        held: "set[Backend] | None" = None,
    ) -> None:
        self.name = name
        self.address = address
        self.connection_key = object()
        """Replaced when something changes that connections depend on, such as the address: old ones are not reused."""
        self.availability = availability
        """As control has published it."""
        self.tally = Tally()
        """Outcomes of traffic since ``take``."""
        self._setbacks = Ejection()
        self._held = held if held is not None else set()
        """The pool's set of backends that may be held off."""
        self.held_until = 0.0
        self.active = 0
        """Requests in flight and open tunnels."""
        self.tunnels = 0
        """Open tunnels."""
        self.load: BackendLoad[Any] | None = None
        """What it carries in all workers; None unless a limit or a bound needs it."""
        self.full = 0
        """Requests refused because the backend was full, and the queue too, or too slow."""
        self.requests = 0
        self.connects = 0
        """Connections that were accepted; ``connect_errors`` are those that failed."""
        self.connect_errors = 0
        self.response_errors = 0
        """Requests that reached the backend and got no valid answer."""
        self.bytes_in = 0
        """Sent to the backend."""
        self.bytes_out = 0
        """Received from the backend."""

    def enter(self) -> bool:
        """Count one request or tunnel, until ``leave``; return false if the limit does not allow it."""
        self.active += 1
        load = self.load
        if load is not None:
            load.active.put(self.active)
            if 0 < load.limit < load.active.total():
                self.leave()
                return False
        return True

    def leave(self) -> None:
        """Count one request or tunnel less."""
        self.active -= 1
        if self.load is not None:
            self.load.active.put(self.active)

    def counters(self) -> tuple[int, ...]:
        """Return the values of ``COUNTERS``."""
        return _counters(self)

    def gauges(self, now: float) -> tuple[int, ...]:
        """Return the values of ``GAUGES``."""
        queued = len(self.load.waiting) if self.load is not None else 0
        return self.active, self.tunnels, queued, int(now < self.held_until)

    def connect_failed(self, now: float) -> None:
        """Note that it did not accept a connection: others come before it for a while."""
        self.connect_errors += 1
        if now >= self.held_until:  # otherwise it was tried because there was no other
            self._setbacks.eject("failed to connect", now, HOLD_OFF, LONGEST_HOLD_OFF)
            self.held_until = self._setbacks.until
            self._held.add(self)

    def connected(self) -> None:
        """Note that it accepted a connection: it need not be avoided any more, unless its probes fail."""
        self.connects += 1
        self.held_until = 0.0

    def take(self) -> Tally:
        """Return the outcomes of traffic since the last call."""
        taken, self.tally = self.tally, Tally()
        return taken

    def unavailable(self, now: float) -> str:
        """Return why it should not be tried now, or an empty string."""
        return self.availability.reason or self.held_off(now)

    def held_off(self, now: float) -> str:
        """Return why others come first for a moment, or an empty string."""
        return "failed to connect" if now < self.held_until else ""


_counters = attrgetter(*Backend.COUNTERS)
