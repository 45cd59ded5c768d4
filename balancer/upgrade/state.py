"""What a supervisor hands on to the next version of itself: JSON in a sealed memfd, and descriptors.

The next version is executed in the same process (execve(2)), so pid, children and descriptors stay; what their numbers
are, and which child is which, is here. Nothing else is: the configuration, and all tokens, are with control and the
workers.

``format`` is that of the writer, ``min`` the oldest that can read it. Fields that are not known here are kept and
handed on: the version after the next may know them.
"""

import fcntl
import os
from typing import Any

import msgspec

from balancer.config.scalars import Level, LogFormat
from balancer.errors import Refused
from balancer.ipc.supervision import Door, Upgrade
from balancer.upgrade.release import Release

FORMAT = 1
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class ChildState(msgspec.Struct, frozen=True):
    """A child process, and our end of its channel; one that does not run just now has neither."""

    name: str
    pid: int | None
    channel: int | None
    starts: int
    last_end: str = ""


class WorkerEntry(msgspec.Struct, frozen=True):
    """A worker."""

    child: ChildState
    number: int
    generation: int
    place: int | None = None
    """Which of the sockets it accepts from; None if it has been told to accept no more."""
    draining: bool = False
    """It accepts no more."""


class BoardState(msgspec.Struct, frozen=True):
    """A memory of shared counters."""

    fd: int
    layout: int
    first: int
    """Number of the first worker that it has a row for."""


class SocketsState(msgspec.Struct, frozen=True):
    """The listening sockets."""

    open: dict[str, list[list[int]]]
    """By key, those of each worker."""
    handed: list[int]
    workers: int
    version: int


class Generation(msgspec.Struct, frozen=True):
    """The workers that one version has started."""

    version: str
    since: float
    """Unix time."""


class Handover(msgspec.Struct):
    """Everything that is handed on."""

    release: Release
    """The one that hands over, and takes back if the next one fails."""
    version: str
    """Its version."""
    config: str
    manager: dict[str, str]
    """What the service manager has told us, as variables."""
    generation: int
    generations: dict[int, Generation]
    memory: list[int]
    boards: list[BoardState]
    sockets: SocketsState
    workers: list[WorkerEntry]
    control: ChildState
    hang: float
    lame: float
    log_level: Level
    log_format: LogFormat
    status: str
    """What the service manager shows beside the daemon."""
    upgrade: Upgrade
    prove: float = 5.0
    doors: list[tuple[Door, int]] = []
    """The admin API's listening sockets, if its control process has handed them over."""
    back: str = ""
    """Why the next version has failed, where this one goes on."""
    format: int = FORMAT
    min: int = 1
    unknown: dict[str, Any] = {}
    """Fields of other versions."""


_decoder = msgspec.json.Decoder(Handover)
_KNOWN = {field.encode_name for field in msgspec.structs.fields(Handover)} - {"unknown"}


def seal(data: bytes) -> int:
    """Return the descriptor of a memfd that holds ``data`` and can be changed no more. Raises ``OSError``."""
    fd = os.memfd_create("balancer-upgrade", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def dump(state: Handover) -> bytes:
    """Return the form that is handed on."""
    known = msgspec.to_builtins(state, str_keys=True)
    unknown = known.pop("unknown", {})
    return msgspec.json.encode({**unknown, **known})


def load(data: bytes) -> Handover:
    """Return what was handed on. Raise ``Refused`` if this version cannot read it."""
    try:
        raw = msgspec.json.decode(data)
        least = raw.get("min", 1) if isinstance(raw, dict) else FORMAT
        if isinstance(least, int) and least > FORMAT:
            raise Refused(f"the running version hands over in format {least}; this one reads up to {FORMAT}")
        state = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise Refused(f"what the running version hands over cannot be read: {error}") from None
    state.format, state.min = FORMAT, 1
    state.unknown = {name: value for name, value in raw.items() if name not in _KNOWN}
    return state


def read(fd: int) -> bytes:
    """Return what is in a memfd."""
    return os.pread(fd, os.fstat(fd).st_size, 0)
