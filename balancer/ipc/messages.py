"""What control and the workers tell each other.

Control sends a worker its ``Setup`` when it attaches and at each reload, and an ``Update`` whenever the placement, the
availability of backends or the place of users changes in between. The worker prepares each, and either activates it as
a whole (``Applied``) or changes nothing (``Rejected``). It reports who is connected where, from the beginning each time
it attaches, and what it has counted. Sessions are numbers that a worker gives to its tunnels.

``FROZEN`` messages are what a worker of an earlier release, which no longer accepts connections, still has to
understand and say: no later release may change what their fields mean.
"""

from collections.abc import Mapping
from typing import ClassVar

from msgspec import Struct, field

from balancer.config.scalars import Level
from balancer.config.settings import KeySettings, WorkerSettings
from balancer.health.availability import Availability
from balancer.health.tally import Tally
from balancer.ipc.placement import PlacementState
from balancer.ipc.wire import Message, Vocabulary
from balancer.pool.counts import Counts
from balancer.pool.leases import Place

Places = Mapping[bytes, Place | None]
"""Of users who are not where the ring says: where they are; None once that is over."""


class PoolSnapshot(Struct, frozen=True):
    """The state of a pool."""

    placement: PlacementState
    availabilities: dict[str, Availability]
    places: dict[bytes, Place | None] = field(default_factory=dict)


class Setup(Message, frozen=True):
    """Everything a worker needs."""

    TYPE: ClassVar[int] = 1

    number: int
    generation: int
    """How often the configuration has changed since the start."""
    settings: WorkerSettings
    sockets: int
    """The version of the supervisor's sockets that belongs to it."""
    secret: bytes
    """Key of the digests of tokens."""
    level: Level
    """From which level on messages are logged."""
    pools: dict[str, PoolSnapshot]
    keys: KeySettings = KeySettings()
    """Keys of other purposes, which earlier releases do not know."""
    accepts: bool = True
    """False while a new version is on trial: be ready to serve, but leave the clients to the workers before."""

    def __repr__(self) -> str:
        return f"<Setup {self.number}, generation {self.generation}>"


class Update(Message, frozen=True):
    """Changes of one pool; of availabilities and places only those that have changed."""

    TYPE: ClassVar[int] = 2

    number: int
    pool: str
    placement: PlacementState | None = None
    availabilities: dict[str, Availability] = field(default_factory=dict)
    places: dict[bytes, Place | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Update {self.number} of {self.pool}>"


class End(Message, frozen=True):
    """End these sessions within ``spread`` seconds; their users return somewhere else."""

    TYPE: ClassVar[int] = 3

    sessions: tuple[int, ...]
    reason: str
    spread: float = 0.0


class ReportRequest(Message, frozen=True):
    """Send a ``WorkerReport``."""

    TYPE: ClassVar[int] = 4

    number: int


class TrafficRequest(Message, frozen=True):
    """Send the ``SessionTraffic`` of these sessions."""

    TYPE: ClassVar[int] = 5

    number: int
    sessions: tuple[int, ...]


class SetLevel(Message, frozen=True):
    """Log messages from this level on."""

    TYPE: ClassVar[int] = 6

    level: Level


class Retire(Message, frozen=True):
    """Accept no more connections; end what is left after ``keep`` seconds, over ``spread`` seconds.

    May come again with other times. Without ``spread`` it takes ``timeouts.close_spread``.
    """

    TYPE: ClassVar[int] = 7

    keep: float
    spread: float | None = None


class Ping(Message, frozen=True):
    """Answer with a ``Pong``."""

    TYPE: ClassVar[int] = 8

    number: int


class TestYourself(Message, frozen=True):
    """Serve a request of your own on each listener, and answer with ``Tested``."""

    TYPE: ClassVar[int] = 9

    number: int


class Opened(Message, frozen=True):
    """A tunnel; ``token`` is None for one without."""

    TYPE: ClassVar[int] = 20

    session: int
    pool: str
    token: bytes | None
    backend: str
    client: str
    """IP address."""
    listener: str
    since: float
    """Unix time."""
    token_from: str = ""
    """The place in the request where the token was."""

    def __repr__(self) -> str:  # a token is a credential
        return f"<Opened {self.session} on {self.backend}>"


class Ended(Message, frozen=True):
    """A tunnel has ended."""

    TYPE: ClassVar[int] = 21

    session: int


class Attached(Message, frozen=True):
    """The first message of a worker: what it is, and all of its tunnels."""

    TYPE: ClassVar[int] = 22

    version: str
    """Of the release it runs."""
    wire: int
    """``WIRE`` of that release."""
    python: str
    tunnels: tuple[Opened, ...] = ()


class Applied(Message, frozen=True):
    """A ``Setup`` or ``Update`` is active: its number, and what is active now."""

    TYPE: ClassVar[int] = 23

    number: int
    generation: int
    fingerprints: dict[str, str]
    """Of the rings, by pool."""


class Rejected(Message, frozen=True):
    """A ``Setup`` or ``Update`` could not be activated; what was active stays."""

    TYPE: ClassVar[int] = 24

    number: int
    reason: str


class WorkerReport(Message, frozen=True):
    """What a worker has counted since its start, and its gauges; see ``pool.counts``."""

    TYPE: ClassVar[int] = 25

    number: int
    counters: Counts
    gauges: Counts
    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)
    """What traffic says of backends since the last report, by pool."""


class SessionTraffic(Message, frozen=True):
    """Bytes sent and received by the backends of sessions; without those that have ended."""

    TYPE: ClassVar[int] = 26

    number: int
    sessions: dict[int, tuple[int, int]] = field(default_factory=dict)


class Pong(Message, frozen=True):
    """The answer to a ``Ping``."""

    TYPE: ClassVar[int] = 27

    number: int


class Tested(Message, frozen=True):
    """How the requests of its own went; ``problem`` is empty if they were answered as they should be."""

    TYPE: ClassVar[int] = 29

    number: int
    problem: str = ""


class NotUnderstood(Message, frozen=True):
    """A frame could not be read here; what was active stays."""

    TYPE: ClassVar[int] = 28

    type: int
    version: int
    reason: str


WIRE = 1
"""Counts changes of the vocabulary that an earlier release cannot understand at all."""
TO_WORKER = Vocabulary(
    Setup, Update, End, ReportRequest, TrafficRequest, SetLevel, Retire, Ping, TestYourself, NotUnderstood
)
TO_CONTROL = Vocabulary(
    Opened, Ended, Attached, Applied, Rejected, WorkerReport, SessionTraffic, Pong, Tested, NotUnderstood
)
FROZEN = (End, ReportRequest, TrafficRequest, SetLevel, Retire, Ping, Opened, Ended, Attached, WorkerReport, Pong)
