"""Upgrades."""

from typing import Annotated

from pydantic import Field

from balancer.admin.responses.common import answer
from balancer.ipc.supervision import UpgradeState


@answer
class UpgradeView:
    """What has become of an upgrade."""

    number: int
    """Counts the upgrades that were asked for; 0 if there was none."""
    state: UpgradeState
    who: str | None
    before: Annotated[str | None, Field(alias="from")]
    """The version that ran before."""
    version: str | None
    """That of the release."""
    release: str | None
    """Its folder."""
    problem: str | None
    """Why it was refused, or has gone back."""
    notes: list[str]
    """What operators should know of the new version, such as other defaults."""
    since: float | None
    """Unix time of the last change."""


@answer
class Finishing:
    """Previous versions that are being ended."""

    workers: int
    tunnels: int
    over: float
    """Seconds."""


@answer
class PreviousView:
    """A previous version that still has connections."""

    version: str
    workers: int
    tunnels: int
    oldest: float | None
    """Seconds since its oldest tunnel was opened; null without tunnels."""
