"""How a backend stands: what the data plane needs to know of its health, as one value.

Whoever judges backends makes a ``Availability`` and assigns it to ``Backend.standing``; a process that serves users never
sees how it came about.
"""

from dataclasses import dataclass, field
from typing import Literal

Wish = Literal["", "degraded", "drain", "maint"]
"""What a host asks for: nothing, users only if nobody else is there, no new users, no users at all."""

DEGRADED = "degraded"
_WISHES = {"": "", "degraded": DEGRADED, "drain": "asks to be drained", "maint": "asks for maintenance"}


@dataclass(frozen=True, slots=True)
class Availability:
    """Immutable, and may be sent to another process."""

    trouble: str = ""
    """Why nobody should be sent there, or an empty string."""
    down: bool = False
    """It is held not to work; with ``trouble`` and not down, nothing is known of it yet."""
    ejected: str = ""
    """Why it gets no new users although probes do not say that it is down, or an empty string."""
    wish: Wish = ""
    """What the host itself asks for."""
    clear: bool = field(init=False)
    """Nothing is to be said against it: the one question of the hot path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clear", not (self.trouble or self.ejected or self.wish))

    @property
    def out(self) -> bool:
        """Nobody new is sent there for its health."""
        return self.down or bool(self.ejected)

    @property
    def unknown(self) -> bool:
        """Nobody has judged it yet."""
        return bool(self.trouble) and not self.down

    def ill(self, *, tunnels: bool) -> str:
        """Why its health keeps a user away, or an empty string.

        To those who have open ``tunnels`` there, an ejected host has proved that it works: another one would not have
        their files.
        """
        return self.trouble or ("" if tunnels else self.ejected)

    def unwilling(self, *, tunnels: bool) -> str:
        """Why the host does not want a user, who has open ``tunnels`` there or not; or an empty string."""
        return "" if tunnels and self.wish != "maint" else _WISHES[self.wish]


WELL = Availability()
UNKNOWN = Availability(trouble="not probed yet")
