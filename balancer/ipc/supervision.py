"""What the supervisor and its children tell each other.

The supervisor hands out descriptors (``ListeningFds``, ``LinkEnd``) and says when to drain, end, reload or stop.
Control asks for sockets in two steps, ``WantSockets`` and then ``CommitSockets`` or ``AbortSockets``, one question at a
time.
Every child sends a ``Heartbeat`` from the loop that does its work.

``FROZEN`` messages are what a worker of an earlier release still has to understand and say, as in ``ipc.messages``.
"""

from typing import ClassVar, Literal

from msgspec import Struct

from balancer.config.scalars import Level
from balancer.ipc.wire import Message, Vocabulary


class FdMessage(Message, frozen=True):
    """Base of the messages that descriptors come with; with any other, the receiving end closes them."""


class ListeningFds(FdMessage, frozen=True):
    """Sockets for a worker, which belong to ``keys`` one by one."""

    TYPE: ClassVar[int] = 40

    version: int
    everything: tuple[str, ...]
    """All keys of this version of the sockets, also those that the worker has."""
    keys: tuple[str, ...] = ()


class LinkEnd(FdMessage, frozen=True):
    """An end of a new link between control and a worker. Control needs to know which worker."""

    TYPE: ClassVar[int] = 41

    worker: int = 0
    pid: int = 0


class Drain(Message, frozen=True):
    """Stop accepting, and end when the last connection has; control counts what is open and says ``Counted``."""

    TYPE: ClassVar[int] = 42


class EndNow(Message, frozen=True):
    """Close what is still open, and end."""

    TYPE: ClassVar[int] = 43


class ReloadNow(Message, frozen=True):
    """Reload the configuration: a signal asked for it."""

    TYPE: ClassVar[int] = 44


class Stop(Message, frozen=True):
    """End: the workers have."""

    TYPE: ClassVar[int] = 45


class LameDuck(Message, frozen=True):
    """Ask for no new clients, but go on as before: the drain begins in so many seconds."""

    TYPE: ClassVar[int] = 50

    seconds: float


class ReopenLog(Message, frozen=True):
    """Open the file of the access log anew: it may have been renamed."""

    TYPE: ClassVar[int] = 51


class ProcessFacts(Struct, frozen=True):
    """A process of the daemon, for operators."""

    name: str
    pid: int | None
    starts: int
    last_end: str | None = None


class Processes(Message, frozen=True):
    """The processes of the daemon, whenever one starts or ends."""

    TYPE: ClassVar[int] = 46

    processes: tuple[ProcessFacts, ...]


class SocketsGranted(Message, frozen=True):
    """The sockets are prepared: where they are bound, by key."""

    TYPE: ClassVar[int] = 47

    bound: dict[str, tuple[str, ...]]


class SocketsRefused(Message, frozen=True):
    """The sockets cannot be had; what is active stays."""

    TYPE: ClassVar[int] = 48

    reason: str
    in_use: bool = False
    """Another socket holds an address, perhaps for a moment only."""


class SocketsCommitted(Message, frozen=True):
    """The prepared sockets are the active ones."""

    TYPE: ClassVar[int] = 49

    version: int


class Heartbeat(Message, frozen=True):
    """The loop of the child turns."""

    TYPE: ClassVar[int] = 60


class Relink(Message, frozen=True):
    """A worker has no link to control, or no descriptor was left for one."""

    TYPE: ClassVar[int] = 61


class Resend(Message, frozen=True):
    """Sockets did not reach a worker: send all of them again."""

    TYPE: ClassVar[int] = 62


class Draining(Message, frozen=True):
    """A worker does not accept any more."""

    TYPE: ClassVar[int] = 63


class WantSockets(Message, frozen=True):
    """Prepare sockets for these addresses (host and port, by key) and so many workers."""

    TYPE: ClassVar[int] = 64

    sockets: dict[str, tuple[str, int]]
    workers: int
    trial: bool = False
    """Only say whether they could be had: nothing is prepared, and no client can connect meanwhile."""


class AbortSockets(Message, frozen=True):
    """Forget what was prepared."""

    TYPE: ClassVar[int] = 65


class CommitSockets(Message, frozen=True):
    """Activate what was prepared, and the settings that the supervisor itself needs."""

    TYPE: ClassVar[int] = 66

    workers: int
    hang: float
    """Seconds."""
    log_level: Level
    log_format: Literal["text", "json"]
    lame: float = 0.0
    """Seconds."""


class Ready(Message, frozen=True):
    """The workers accept."""

    TYPE: ClassVar[int] = 67


class Reloading(Message, frozen=True):
    """A reload begins."""

    TYPE: ClassVar[int] = 68


class Reloaded(Message, frozen=True):
    """A reload is over, whatever came of it."""

    TYPE: ClassVar[int] = 69


class StatusText(Message, frozen=True):
    """What the service manager shows beside the daemon."""

    TYPE: ClassVar[int] = 70

    text: str


class Counted(Message, frozen=True):
    """The last ``StatusText`` is from after the drain began."""

    TYPE: ClassVar[int] = 71


TO_CHILD = Vocabulary(
    ListeningFds,
    LinkEnd,
    Drain,
    EndNow,
    ReloadNow,
    Stop,
    Processes,
    SocketsGranted,
    SocketsRefused,
    SocketsCommitted,
    LameDuck,
    ReopenLog,
)
TO_SUPERVISOR = Vocabulary(
    Heartbeat,
    Relink,
    Resend,
    Draining,
    WantSockets,
    AbortSockets,
    CommitSockets,
    Ready,
    Reloading,
    Reloaded,
    StatusText,
    Counted,
)
FROZEN = (ListeningFds, LinkEnd, Drain, EndNow, Heartbeat, Relink, Resend, Draining)
