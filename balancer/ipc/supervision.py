"""What the supervisor and its children tell each other.

The supervisor hands out descriptors (``ListeningFds``, ``LinkEnd``) and says when to drain, end, reload or stop.
Control asks for sockets in two steps, ``WantSockets`` and then ``CommitSockets`` or ``AbortSockets``, one question at a
time.
Every child sends a ``Heartbeat`` from the loop that does its work.

``FROZEN`` messages are what processes of an earlier release still have to understand and say, as in ``ipc.messages``:
its workers as long as they have connections, its control process until the one of the new release has taken over.
"""

from typing import ClassVar, Literal

from msgspec import Struct, field

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
    generation: int = 0
    """That of the worker: those of the present version have the highest."""


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
    generation: int = 0
    """Counts the versions that have run in this daemon, one after the other."""
    version: str = ""
    """Of the release that it runs."""
    place: int | None = None
    """Which of the present workers it is; None for control, and for workers that leave."""


class Processes(Message, frozen=True):
    """The processes of the daemon, whenever one starts or ends."""

    TYPE: ClassVar[int] = 46

    processes: tuple[ProcessFacts, ...]
    generation: int = 0
    """The present one: workers of earlier ones keep their connections, and are not replaced."""


class Door(Struct, frozen=True):
    """A listening socket of the admin API."""

    wanted: str
    """Its address in the configuration."""
    name: str
    """The address that it is bound to."""
    inode: int = 0
    """Of the file of a Unix socket; 0 for TCP."""


class Begin(FdMessage, frozen=True):
    """Serve, now that no other control process does; with the listening sockets of its admin API, if there was one."""

    TYPE: ClassVar[int] = 52

    doors: tuple[Door, ...] = ()
    prove: float | None = None
    """Seconds for which the workers are on trial, and accept no clients; None if they are not."""


class HandOver(Message, frozen=True):
    """Stop serving operators and let go of the state directory: answer with ``HandedOver`` and wait to be stopped."""

    TYPE: ClassVar[int] = 53


class UpgradeNow(Message, frozen=True):
    """Upgrade to the current release: a signal asked for it."""

    TYPE: ClassVar[int] = 54


UpgradeState = Literal["none", "rehearsing", "rehearsed", "refused", "running", "done", "went back"]

OUTCOMES: tuple[UpgradeState, ...] = ("done", "refused", "went back")
"""How an upgrade ends."""


class Upgrade(Message, frozen=True):
    """What has become of an upgrade, whenever that changes, and at the start of control."""

    TYPE: ClassVar[int] = 55

    number: int
    """Counts the upgrades that were asked for; 0 if there was none."""
    state: UpgradeState = "none"
    who: str = ""
    before: str = ""
    """The version that ran before."""
    version: str = ""
    """That of the new release, as far as it is known."""
    release: str = ""
    """Its path."""
    problem: str = ""
    """Why it was refused, or has gone back."""
    notes: tuple[str, ...] = ()
    """What operators should know of the new version."""
    since: float = 0.0
    """Unix time of the last change."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many upgrades have ended in which way."""


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


class RingFacts(Struct, frozen=True):
    """The active ring of a pool."""

    fingerprint: str
    weights: dict[str, float]
    """What it was built with."""


class WantUpgrade(Message, frozen=True):
    """Upgrade to the release at this path, or only rehearse it; answered with ``Upgrade``."""

    TYPE: ClassVar[int] = 72

    release: str
    who: str
    dry_run: bool = False
    allow_moves: bool = False
    prove: float = 5.0
    rings: dict[str, RingFacts] = field(default_factory=dict)
    """By pool."""


class Warm(Message, frozen=True):
    """Ready to take over: all that takes long is done."""

    TYPE: ClassVar[int] = 73


class Answering(Message, frozen=True):
    """Operators are answered."""

    TYPE: ClassVar[int] = 76


class HandedOver(FdMessage, frozen=True):
    """The sockets of the admin API, from a control process that serves no more."""

    TYPE: ClassVar[int] = 74

    doors: tuple[Door, ...] = ()


class Proven(Message, frozen=True):
    """The trial of the new workers is over; ``problem`` is empty if they may serve."""

    TYPE: ClassVar[int] = 75

    problem: str = ""


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
    Begin,
    HandOver,
    UpgradeNow,
    Upgrade,
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
    WantUpgrade,
    Warm,
    Answering,
    HandedOver,
    Proven,
)
FROZEN = (
    *(ListeningFds, LinkEnd, Drain, EndNow, ReopenLog, Heartbeat, Relink, Resend, Draining),
    *(HandOver, HandedOver, Stop, Upgrade),
)
