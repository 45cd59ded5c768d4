"""What control knows about the daemon as a whole."""

import time
from dataclasses import dataclass, field

from balancer.ipc.supervision import ProcessFacts


@dataclass
class Lifecycle:
    """State of the daemon, which may be older than this process."""

    started: float = field(default_factory=time.time)
    """Unix time."""
    began: float = field(default_factory=time.monotonic)
    """The same on the monotonic clock, which all processes share."""
    lame: bool = False
    """It asks for no new clients."""
    lame_until: float | None = None
    """When the drain begins, on the monotonic clock, once the daemon was told to stop."""
    draining: bool = False
    drain_until: float | None = None
    """While it drains: when the remaining connections are closed, on the monotonic clock."""
    processes: tuple[ProcessFacts, ...] = ()
    """As the supervisor reports them."""
