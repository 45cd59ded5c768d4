"""The configuration in force, and how it outlives the control process.

It is kept in memory that the supervisor holds (memfd_create(2)), with the certificates as they were read: a control
process that is started again goes on with what was in force, whatever has become of the files meanwhile.
"""

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balancer.config.model import Config
from balancer.config.pem import Pem
from balancer.config.scalars import Level

_SLOTS = (1 << 12, 1 << 40)
"""Where the two copies are: the one that counts, and the one that is being written. The file is sparse."""


@dataclass(frozen=True)
class Force:
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


class Keepsake:
    """One value in an anonymous file, replaced as a whole: a process that is killed while it writes loses nothing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def load(self) -> Any:  # noqa: ANN401  # what was saved
        """What was saved last; None if nothing was."""
        head = os.pread(self._fd, 16, 0)
        if not head:
            return None
        at, size = int.from_bytes(head[:8]), int.from_bytes(head[8:])
        data = b""
        while len(data) < size:
            data += os.pread(self._fd, size - len(data), at + len(data))
        return pickle.loads(data)

    def save(self, value: object) -> None:
        """Keep ``value`` in the place of what was saved before."""
        data = memoryview(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
        head = os.pread(self._fd, 8, 0)
        at = _SLOTS[1] if head and int.from_bytes(head) == _SLOTS[0] else _SLOTS[0]
        written = 0
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], at + written)
        os.pwrite(self._fd, at.to_bytes(8) + len(data).to_bytes(8), 0)
