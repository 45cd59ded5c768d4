"""What the control process and the workers tell each other. All of it is immutable, and pickled on the way.

Control sends a worker its ``Setup`` when it attaches and at each reload, and an ``Update`` whenever the placement, the
standing of backends or the place of users changes in between. A worker says who is connected where, from the beginning
each time it attaches, and counts. Sessions are numbers that a worker gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from balancer.config.model import Config
from balancer.config.pem import Pem
from balancer.config.scalars import Level
from balancer.health.availability import Availability
from balancer.health.tally import Tally
from balancer.pool.counts import Counts
from balancer.pool.leases import Place
from balancer.pool.placement import Placement

Places = Mapping[bytes, Place | None]
"""Of users who are not where the ring says: where they are; None once that is over."""


@dataclass(frozen=True)
class PoolSnapshot:
    """How things are in a pool."""

    placement: Placement
    availabilities: Mapping[str, Availability]
    places: Places


@dataclass(frozen=True)
class Setup:
    """Everything a worker needs."""

    number: int
    generation: int
    """Of the configuration: how often it has changed since the start."""
    config: Config
    keys: Mapping[str, tuple[str, ...]]
    """Of each listener, the keys of its sockets."""
    sockets: int
    """The version of the supervisor's sockets that has them."""
    slots: Mapping[str, int]
    """Of each listener, its number on the board."""
    certificates: Mapping[str, tuple[Pem, ...]]
    """Of each listener with TLS, in the order of the configuration."""
    secret: bytes = field(repr=False)
    """Key of the digests of tokens."""
    level: Level
    """From which log lines are written."""
    pools: Mapping[str, PoolSnapshot]


@dataclass(frozen=True)
class Update:
    """Changes of one pool; of standings and places only those that have changed."""

    number: int
    pool: str
    placement: Placement | None = None
    availabilities: Mapping[str, Availability] = field(default_factory=dict)
    places: Places = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """End these sessions; their users return somewhere else."""

    sessions: tuple[int, ...]
    why: str


@dataclass(frozen=True)
class Ask:
    """Answer with ``what``: a method of the worker that answers."""

    number: int
    what: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Opened:
    """A tunnel; ``token`` is None for one without."""

    session: int
    pool: str
    token: bytes | None = field(repr=False)
    backend: str


@dataclass(frozen=True)
class Ended:
    """A tunnel has ended."""

    session: int


@dataclass(frozen=True)
class Attached:
    """The first message of a worker: all of its tunnels."""

    tunnels: tuple[Opened, ...]


@dataclass(frozen=True)
class Applied:
    """A ``Setup`` or ``Update`` is in force: its number, and what is now."""

    number: int
    generation: int
    fingerprints: Mapping[str, str]
    """Of the rings, by pool."""


@dataclass(frozen=True)
class Answer:
    """To an ``Ask``."""

    number: int
    value: Any


@dataclass(frozen=True)
class WorkerReport:
    """What a worker has counted since its start, and how things are; see ``pool.counts``."""

    counters: Counts
    gauges: Counts
    tallies: Mapping[str, Mapping[str, Tally]]
    """What traffic says of backends since the last report, by pool."""
