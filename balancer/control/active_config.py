"""The configuration in force, and how it outlives the control process.

It is kept in memory that the supervisor holds (memfd_create(2)), with the certificates as they were read: a control
process that is started again goes on with what was in force, whatever has become of the files meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from balancer.config.model import Config
from balancer.config.pem import Pem
from balancer.config.scalars import Level


@dataclass(frozen=True)
class ActiveConfig:
    """A configuration in force."""

    generation: int
    """How often it has changed since the start."""
    since: float
    """Unix time."""
    config: Config
    certificates: Mapping[str, tuple[Pem, ...]]
    """Of each listener with TLS, in the order of the configuration."""
    keys: Mapping[str, tuple[str, ...]]
    """Of each listener, the keys of its sockets."""
    bound: Mapping[str, tuple[str, ...]]
    """By key, where they are bound."""
    sockets: int
    """The version of the supervisor's sockets that has them."""
    level: Level
    """From which log lines are written."""
