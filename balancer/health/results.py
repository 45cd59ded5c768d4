"""What probes and agents report. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from balancer.health.availability import RequestedState

Mode = Literal["ready", "drain", "maint"]


class Verdict(StrEnum):
    """What is held of a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Result:
    """One probe: did the backend pass, and in a few words why, never with bytes the backend sent."""

    ok: bool
    text: str
    requested_state: RequestedState = ""


@dataclass(frozen=True)
class AgentReport:
    """What an agent said; what it did not mention is None and stays as it was."""

    percent: int | None = None
    """Share of the configured weight."""
    mode: Mode | None = None
    down: bool | None = None
