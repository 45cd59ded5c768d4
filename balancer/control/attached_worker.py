"""A worker as control knows it: its link, its tunnels, what it has activated, and its last report."""

from dataclasses import dataclass, field

from balancer.control.pool_state import PoolState
from balancer.ipc.link import Link
from balancer.ipc.messages import Attached, Opened, WorkerReport
from balancer.ipc.wire import Message
from balancer.pool.leases import Lease

RETRY_WAIT = 1.0
LONGEST_RETRY_WAIT = 30.0
"""Seconds before a configuration that a worker rejected is sent again, at first and at most."""


@dataclass(eq=False, slots=True)
class RemoteTunnel:
    """A tunnel in a worker."""

    worker: "AttachedWorker"
    opened: Opened
    pool_state: PoolState | None
    """None if the pool has been removed."""
    lease: Lease | None = None
    since: float = 0.0
    """When it was opened, on our own clock."""


@dataclass(eq=False)
class AttachedWorker:
    """A worker that is attached through a link."""

    number: int
    pid: int
    link: Link
    version_generation: int = 0
    """Counts the versions of the daemon: those that earlier ones have started have a lower one."""
    retired: bool = False
    """It was told to accept no more, because it is of an earlier version."""
    about: Attached | None = None
    """What it reported when it attached."""
    tunnels: dict[int, RemoteTunnel] = field(default_factory=dict)
    sent: int = 0
    """Number of the last change that it was sent."""
    applied: int = 0
    """Number of the last change that it activated or rejected."""
    generation: int = 0
    """Generation of its configuration."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    report: WorkerReport | None = None
    rejection: str = ""
    """Why it rejected the last change, if it did."""
    retry_at: float = 0.0
    answers: dict[int, Message | None] = field(default_factory=dict)
    """Answers to open requests, by number."""
    _retries: int = 0

    @property
    def pending(self) -> bool:
        """Whether it has yet to say what has become of a change."""
        return self.applied < self.sent

    def rejected(self, number: int, reason: str, now: float) -> None:
        """Note that it rejected a change; everything is sent again, with back-off."""
        self.applied, self.rejection = number, reason
        self.retry_at = now + min(RETRY_WAIT * 2**self._retries, LONGEST_RETRY_WAIT)
        self._retries += 1

    def accepted(self, number: int, generation: int, fingerprints: dict[str, str]) -> None:
        """Note that it activated a change."""
        self.applied, self.generation, self.fingerprints = number, generation, fingerprints
        self.rejection, self._retries = "", 0
