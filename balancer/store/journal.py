"""The state directory: what operators have decided, so that it outlives the process.

``journal.jsonl`` is the truth: one line per change, appended and fsynced before the change is acknowledged. A line that
the power, or kill -9, cut short was never acknowledged and is dropped. ``overlay.json`` is the sum of the lines up to
a number, replaced atomically (a file beside it, fsync, rename, fsync of the directory), so that starting need not add
up years; damaged or lost, it is made again from the journal. A file that cannot be read is set aside under a name that
says so, a line that cannot be read stays where it is: nothing is deleted. ``digest.key`` is the key of the token
digests.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from balancer.config.model import Name, Section
from balancer.errors import InUse, Refused
from balancer.overlay.entries import Entry, RingConfig
from balancer.overlay.overlay import Overlay
from balancer.overlay.replay import replayed

logger = logging.getLogger("balancer.state")


class _State(Section):
    seq: int
    overlays: dict[Name, Overlay]
    configs: dict[Name, RingConfig]


_state = TypeAdapter(_State)
_entry = TypeAdapter(Entry)


@dataclass(frozen=True)
class Memory:
    """What the directory holds: the last number, overlays and ring configurations by pool."""

    seq: int
    overlays: Mapping[str, Overlay]
    configs: Mapping[str, RingConfig]


class Journal:
    """A state directory, held by this process alone while it is open. Its methods block: call them in a thread."""

    def __init__(self, folder: Path) -> None:
        """Make and lock the directory. Raises ``Refused`` when another daemon holds it or it cannot be used."""
        self.folder = folder
        self._path = folder / "journal.jsonl"
        self._state_path = folder / "overlay.json"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refused(f"state_dir {folder}: {error.strerror}; make it writable for the daemon's user") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InUse(f"state_dir {folder} is in use by another daemon; give each its own") from None
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.key = self._load_key()
            """The key of the token digests, made at the first start."""
        except OSError as error:
            self.close()
            raise Refused(f"{folder / 'digest.key'}: {error.strerror}; make room, or the file readable") from None

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._lock)

    def load(self) -> Memory:
        """The state as last acknowledged. Raises nothing: what is damaged is set aside and said."""
        seq, overlays, configs = self._load_state()
        last = seq
        entries, damaged, whole = self._read()
        if whole < os.fstat(self._fd).st_size:
            logger.warning("%s: its last line was never finished, so never acknowledged: dropped", self._path)
            os.ftruncate(self._fd, whole)
        if damaged:
            logger.error("%s: damaged and ignored: line %s", self._path, ", ".join(map(str, damaged)))
        for entry in entries:
            last = max(last, entry.seq)
            if entry.seq > seq:
                if entry.config is not None:
                    configs[entry.pool] = entry.config
                overlays[entry.pool] = replayed(overlays.get(entry.pool, Overlay()), entry, configs.get(entry.pool))
        return Memory(last, overlays, configs)

    def append(self, *entries: Entry) -> None:
        """Write lines; they are on the disk when this returns. Raises ``Refused`` if the disk does not take them."""
        lines = b"".join(entry.model_dump_json(exclude_none=True).encode() + b"\n" for entry in entries)
        end = os.fstat(self._fd).st_size
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, end)
            raise Refused(f"{self._path}: {error.strerror}; nothing was changed") from None

    def save(self, seq: int, overlays: Mapping[str, Overlay], configs: Mapping[str, RingConfig]) -> None:
        """Write the sum of all entries up to ``seq``. A failure is only logged: the journal has them."""
        state = _State(seq=seq, overlays=dict(overlays), configs=dict(configs))
        try:
            self._replace(self._state_path, _state.dump_json(state, indent=1))
        except OSError as error:
            logger.error("%s: %s; the journal still has every change", self._state_path, error.strerror)

    def entries(self) -> list[Entry]:
        """All readable lines, oldest first, without one that is being written just now."""
        return self._read()[0]

    def _read(self) -> tuple[list[Entry], list[int], int]:
        """Entries, the numbers of damaged lines, and how many bytes all whole lines have."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        entries, damaged = [], []
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                entries.append(_entry.validate_json(line))
            except ValidationError:
                damaged.append(number)
        return entries, damaged, whole

    def _load_state(self) -> tuple[int, dict[str, Overlay], dict[str, RingConfig]]:
        try:
            state = _state.validate_json(self._state_path.read_bytes())
        except FileNotFoundError:
            return 0, {}, {}
        except (ValidationError, OSError):
            self._set_aside(self._state_path, "is damaged; the state is made again from the journal")
            return 0, {}, {}
        return state.seq, dict(state.overlays), dict(state.configs)

    def _load_key(self) -> bytes:
        path = self.folder / "digest.key"
        with contextlib.suppress(FileNotFoundError):
            key = path.read_bytes()
            if len(key) == 32:
                return key
            self._set_aside(path, "is not a key of 32 bytes; digests in old logs and pins no longer match")
        key = os.urandom(32)
        self._replace(path, key)
        return key

    def _set_aside(self, path: Path, what: str) -> None:
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        path.rename(aside)
        logger.error("%s %s; it is kept as %s", path, what, aside)

    def _replace(self, path: Path, data: bytes) -> None:
        beside = path.with_name(path.name + ".new")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        beside.rename(path)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
