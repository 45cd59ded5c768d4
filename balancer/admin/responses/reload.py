"""The active configuration, its certificates, and reloads."""

from typing import Any, Literal

from balancer.admin.responses.common import answer
from balancer.admin.responses.plans import RingPlan
from balancer.admin.responses.pools import UnfiledView


@answer
class LastReloadView:
    """Result of the last reload."""

    time: float
    who: str
    ok: bool
    problems: list[str]


@answer
class ReloadState:
    """The active configuration and the last reload."""

    generation: int
    since: float
    """Unix time."""
    last_reload: LastReloadView | None


@answer
class ConfigChange:
    """A change in the configuration."""

    kind: str
    key: str
    text: str


@answer
class ReloadUsers:
    """Connected users that a reload affects."""

    connected: int
    moving: int
    tunnels: int


@answer
class ReloadPlan(RingPlan):
    """What a reload does to a ring."""

    users: ReloadUsers


@answer
class RemovedHostView:
    """A backend that a reload removes, and the users and tunnels still on it."""

    pool: str
    backend: str
    users: int
    tunnels: int
    cut_after: float | Literal["never"]
    """Seconds after which the tunnels that are left are closed."""


@answer
class Reloaded(ReloadState):
    """What a reload has changed, or would change."""

    dry_run: bool
    changes: list[ConfigChange]
    warnings: list[str]
    plans: list[ReloadPlan]
    removed: list[RemovedHostView]
    not_in_file: list[UnfiledView]
    """What operators decided that the file does not say; it stays active."""


@answer
class ConfigDifference:
    """What differs between the configuration file and what is active."""

    changes: list[ConfigChange]
    """What a reload would change."""
    warnings: list[str]
    not_in_file: list[UnfiledView]
    """What operators decided that the file does not say; a reload leaves it."""


@answer
class ConfigInForce:
    """The configuration, with secrets as digests."""

    generation: int
    since: float
    config: dict[str, Any]


@answer
class CertificateFacts:
    """An active certificate."""

    listener: str
    file: str
    names: list[str]
    not_before: float
    not_after: float
    days_left: float
    fingerprint: str


@answer
class Certificates:
    """The active certificates."""

    certificates: list[CertificateFacts]
