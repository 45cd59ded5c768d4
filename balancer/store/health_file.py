"""What was last held of every backend, in ``health.json`` of the state directory, so that a restart need not guess.

Nothing here was promised to anyone: it is written now and then, and a file that is missing or damaged is a daemon that
knows nothing yet.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

from balancer.config.fields import BackendAddress
from balancer.config.section import Name, Section
from balancer.errors import disk_reason
from balancer.health.results import Verdict

logger = logging.getLogger("balancer.health")


class Known(Section):
    """What was held of a backend, and of which address."""

    state: Verdict
    since: float
    """Unix time."""
    address: BackendAddress
    text: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,500}$")]
    """What the last probe came to; it goes into logs and headers."""


Memory = dict[Name, dict[Name, Known]]
"""By pool and backend."""
_memory = TypeAdapter(Memory)


class HealthFile:
    """The file in a state directory. Its methods block: call them in a thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "health.json"

    def read(self) -> Memory:
        """What it holds; nothing if there is no such file, or none that can be read."""
        try:
            return _memory.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError):
            logger.warning("%s cannot be read: backends are unknown until they are probed", self._path)
            return {}

    def write(self, memory: Mapping[str, Mapping[str, Known]]) -> None:
        """Replace it as a whole. A failure is logged: the next change tries again."""
        beside = self._path.with_suffix(".json.new")
        data = _memory.dump_json({pool: dict(known) for pool, known in memory.items()}, indent=1)
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            beside.rename(self._path)
        except OSError as error:
            logger.error("%s: %s; after a restart the backends will be unknown", self._path, disk_reason(error))
