"""How a backend stands: what the data plane needs to know of its health, as one value.

Whoever judges backends makes a ``Standing`` and assigns it to ``Backend.standing``; a process that serves users never
sees how it came about.
"""

from dataclasses import dataclass, field
from typing import Literal

Wish = Literal["", "degraded", "drain", "maint"]
"""What a host asks for: nothing, users only if nobody else is there, no new users, no users at all."""

DEGRADED = "degraded"
_WISHES = {"": "", "degraded": DEGRADED, "drain": "asks to be drained", "maint": "asks for maintenance"}


@dataclass(frozen=True, slots=True)
class Standing:
    """Immutable, and may be sent to another process."""

    trouble: str = ""
    """Why nobody should be sent there, or an empty string."""
    down: bool = False
    """It is held not to work; with ``trouble`` and not down, nothing is known of it yet."""
    wish: Wish = ""
    """What the host itself asks for."""
    clear: bool = field(init=False)
    """Nothing is to be said against it: the one question of the hot path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clear", not self.trouble and not self.wish)

    def unwilling(self, *, tunnels: bool) -> str:
        """Why the host does not want a user, who has open ``tunnels`` there or not; or an empty string."""
        return "" if tunnels and self.wish != "maint" else _WISHES[self.wish]


WELL = Standing()
UNKNOWN = Standing(trouble="not probed yet")
