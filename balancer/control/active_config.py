"""The active configuration, and how it outlives the control process.

It is kept in memory that the supervisor holds (memfd_create(2)), with the contents of the files that it names. So a
control process that is started again goes on with what was active, whatever has become of the files meanwhile.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from pydantic import ValidationError

from balancer.config.contents import NamedFiles
from balancer.config.model import Config
from balancer.config.plain import worker_settings
from balancer.config.scalars import Level
from balancer.config.settings import WorkerSettings

logger = logging.getLogger("balancer.state")

FORMAT = 2
"""Version of the saved form."""


@dataclass(frozen=True)
class ActiveConfig:
    """A configuration that is active."""

    generation: int
    """Counts the configurations since the start."""
    since: float
    """Unix time."""
    config: Config
    files: NamedFiles
    """What was in the files that it names."""
    keys: Mapping[str, tuple[str, ...]]
    """Keys of the sockets of each listener."""
    bound: Mapping[str, tuple[str, ...]]
    """Addresses that the sockets are bound to, by key."""
    sockets: int
    """The version of the supervisor's sockets that belongs to it."""
    level: Level
    """Log level."""

    def settings(self, slots: Mapping[str, int]) -> WorkerSettings:
        """Return the part that workers need; ``slots`` are the listeners' slots among the shared counters."""
        return worker_settings(self.config, self.files, self.keys, slots)


class _SavedConfig(msgspec.Struct):
    format: int
    folder: str
    started: float
    generation: int
    since: float
    config: str
    files: NamedFiles
    keys: dict[str, tuple[str, ...]]
    bound: dict[str, tuple[str, ...]]
    sockets: int
    level: Level
    began: float
    lame: bool = False


@dataclass(frozen=True)
class Remembered:
    """What a restarted control process continues with."""

    active: ActiveConfig
    folder: str
    """The state directory."""
    started: float
    """When the daemon started, in Unix time."""
    began: float
    """The same on the monotonic clock."""
    lame: bool
    """Whether the daemon asks for no new clients."""


def dump(remembered: Remembered) -> bytes:
    """Return the saved form."""
    active = remembered.active
    return msgspec.msgpack.encode(
        _SavedConfig(
            FORMAT,
            remembered.folder,
            remembered.started,
            active.generation,
            active.since,
            active.config.model_dump_json(),
            active.files,
            dict(active.keys),
            dict(active.bound),
            active.sockets,
            active.level,
            remembered.began,
            remembered.lame,
        )
    )


def load(data: bytes | None) -> Remembered | None:
    """Return what ``dump`` saved; None if there is nothing, or it is of another format, which is logged."""
    if data is None:
        return None
    try:
        saved = msgspec.msgpack.decode(data, type=_SavedConfig)
        config = Config.model_validate(msgspec.json.decode(saved.config))
    except (msgspec.MsgspecError, ValidationError) as error:
        logger.error("the remembered configuration cannot be read, the file is read instead: %s", type(error).__name__)
        return None
    if saved.format != FORMAT:
        logger.error("the remembered configuration has format %d, the file is read instead", saved.format)
        return None
    active = ActiveConfig(
        saved.generation,
        saved.since,
        config,
        saved.files,
        saved.keys,
        saved.bound,
        saved.sockets,
        saved.level,
    )
    return Remembered(active, saved.folder, saved.started, saved.began, saved.lame)
