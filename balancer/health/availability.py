"""Availability of a backend: what the data plane needs to know of its health, as one value.

The control process works it out and publishes it; workers never see how it came about.
"""

from dataclasses import dataclass, field
from typing import Literal

RequestedState = Literal["", "degraded", "drain", "maint"]
"""What a host asks for: nothing, users only if nobody else is there, no new users, no users at all."""

DEGRADED = "degraded"
_REQUESTED_STATES = {"": "", "degraded": DEGRADED, "drain": "asks to be drained", "maint": "asks for maintenance"}


@dataclass(frozen=True, slots=True)
class Availability:
    """Immutable, and may be sent to another process."""

    reason: str = ""
    """Why nobody should be sent there, or an empty string."""
    down: bool = False
    """It is held not to work; with ``reason`` and not down, nothing is known of it yet."""
    ejected: str = ""
    """Why it gets no new users although probes do not say that it is down, or an empty string."""
    requested_state: RequestedState = ""
    """What the host itself asks for."""
    clear: bool = field(init=False)
    """Nothing is to be said against it: the one question of the hot path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clear", not (self.reason or self.ejected or self.requested_state))

    @property
    def out(self) -> bool:
        """Nobody new is sent there for its health."""
        return self.down or bool(self.ejected)

    @property
    def unknown(self) -> bool:
        """Nobody has judged it yet."""
        return bool(self.reason) and not self.down

    def ill(self, *, tunnels: bool) -> str:
        """Why its health keeps a user away, or an empty string.

        To those who have open ``tunnels`` there, an ejected host has proved that it works: another one would not have
        their files.
        """
        return self.reason or ("" if tunnels else self.ejected)

    def unwilling(self, *, tunnels: bool) -> str:
        """Why the host does not want a user, who has open ``tunnels`` there or not; or an empty string."""
        return "" if tunnels and self.requested_state != "maint" else _REQUESTED_STATES[self.requested_state]


AVAILABLE = Availability()
UNKNOWN = Availability(reason="not probed yet")
