"""The results of probes and the reports of agents. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from balancer.health.availability import RequestedState

Mode = Literal["ready", "drain", "maint"]


class Verdict(StrEnum):
    """The state of a backend by its probes."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Result:
    """The result of one probe, with the reason in a few words, which never hold bytes that the backend sent."""

    ok: bool
    text: str
    requested_state: RequestedState = ""
    percent: int = 100
    """Share of the configured weight that the backend asks for."""
    hash: str = ""
    """Name of the hash by which the backend, a balancer, says that it places tokens; empty if it says nothing."""


@dataclass(frozen=True)
class AgentReport:
    """The report of an agent; what it does not mention is None, and stays as it was."""

    percent: int | None = None
    """Share of the configured weight."""
    mode: Mode | None = None
    down: bool | None = None
