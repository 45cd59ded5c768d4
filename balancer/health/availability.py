"""Availability of a backend: what the data plane needs to know of its health, as one value.

Control works it out and publishes it; workers do not know the reasons behind it.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import force_setattr

RequestedState = Literal["", "degraded", "drain", "maint"]
"""What a host asks for: nothing; users only if there is no other host; no new users; no users at all."""

DEGRADED = "degraded"
_REQUESTED_STATES = {"": "", "degraded": DEGRADED, "drain": "asks to be drained", "maint": "asks for maintenance"}


class Availability(Struct, frozen=True):
    """Whether users may be sent to a backend. Control sends it to the workers."""

    reason: str = ""
    """Why no user should be sent there, or an empty string."""
    down: bool = False
    """It does not work, as far as is known. With a ``reason`` but not down, it has not been probed yet."""
    ejected: str = ""
    """Why it gets no new users although it passes its probes, or an empty string."""
    requested_state: RequestedState = ""
    """What the host itself asks for."""
    clear: bool = True
    """There is no reason not to use it: all that the hot path looks at. It is worked out here, whatever is given."""

    def __post_init__(self) -> None:
        force_setattr(self, "clear", not (self.reason or self.ejected or self.requested_state))

    @property
    def out(self) -> bool:
        """Whether new users are kept away because of its health."""
        return self.down or bool(self.ejected)

    @property
    def unknown(self) -> bool:
        """Whether it has not been probed yet."""
        return bool(self.reason) and not self.down

    def ill(self, *, tunnels: bool) -> str:
        """Return why its health keeps a user away, or an empty string.

        To those who have open ``tunnels`` there, an ejected host has proved that it works: another one would not have
        their files.
        """
        return self.reason or ("" if tunnels else self.ejected)

    def unwilling(self, *, tunnels: bool) -> str:
        """Return why the host itself does not want a user, with or without ``tunnels`` there; or an empty string."""
        return "" if tunnels and self.requested_state != "maint" else _REQUESTED_STATES[self.requested_state]


AVAILABLE = Availability()
UNKNOWN = Availability(reason="not probed yet")
