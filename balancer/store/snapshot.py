"""The sum of the journal's entries up to one of them, and its saved form.

``format`` is that of the writer, ``min`` the oldest that can read it: a reader ignores fields it does not know, unless
``min`` is newer than its own format. A reader of a newer format that finds an older snapshot makes it again from the
journal, which has kept the fields that the older one has ignored.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from balancer.config.section import Name, Section
from balancer.overlay.entries import FORMAT, Entry, RingRecord
from balancer.overlay.overlay import Overlay
from balancer.overlay.replay import replayed

Read = TypeVar("Read")


class Newer(Exception):
    """Written by a version whose format this one cannot read."""


@dataclass
class Snapshot:
    """Overlays and ring configurations by pool, after all entries up to ``seq``."""

    seq: int = 0
    time: float = 0.0
    """The latest time of these entries, in Unix time: clocks are set back now and then."""
    saved: float = field(default=0.0, compare=False)
    """When the overlays were like this, by the clock that their times are of; 0 if that is not known."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many entries there are of each pool."""
    overlays: dict[str, Overlay] = field(default_factory=dict)
    configs: dict[str, RingRecord] = field(default_factory=dict)

    def count(self, entry: Entry) -> None:
        """Count an entry whose changes are known already."""
        self.seq = max(self.seq, entry.seq)
        self.time = max(self.time, entry.time)
        self.counts[entry.pool] = self.counts.get(entry.pool, 0) + 1

    def add(self, entry: Entry) -> None:
        """Replay an entry."""
        self.count(entry)
        self.saved = entry.time
        if entry.config is not None:
            self.configs[entry.pool] = entry.config
        overlay = self.overlays.get(entry.pool, Overlay())
        self.overlays[entry.pool] = replayed(overlay, entry, self.configs.get(entry.pool))


class _SavedFile(Section):
    format: int = FORMAT
    min: int | None = None
    seq: int
    time: float | None = None
    saved: float | None = None
    counts: dict[Name, int] | None = None
    overlays: dict[Name, Overlay]
    configs: dict[Name, RingRecord]


class _Written(Section):
    min: int | None = None


_saved = TypeAdapter(_SavedFile)
_written = TypeAdapter(_Written)
_entry = TypeAdapter(Entry)


def dump_snapshot(snapshot: Snapshot) -> bytes:
    """Return the saved form."""
    saved = _SavedFile(
        seq=snapshot.seq,
        time=snapshot.time,
        saved=snapshot.saved,
        counts=snapshot.counts,
        overlays=snapshot.overlays,
        configs=snapshot.configs,
    )
    return _saved.dump_json(saved, indent=1, exclude_none=False)


def load_snapshot(data: bytes) -> tuple[Snapshot, bool]:
    """Return what was saved, and whether entries were counted then. Raises ``ValueError`` or ``Newer``."""
    saved = _read(_saved, data)
    overlays, configs = dict(saved.overlays), dict(saved.configs)
    snapshot = Snapshot(saved.seq, saved.time or 0.0, saved.saved or 0.0, saved.counts or {}, overlays, configs)
    return snapshot, saved.counts is not None


def read_entry(line: bytes) -> Entry:
    """Return the entry of a line. Raises ``ValueError`` if it is none, or ``Newer``."""
    return _read(_entry, line)


def _read(kind: TypeAdapter[Read], data: bytes) -> Read:
    try:
        read = kind.validate_json(data, extra="ignore")
    except ValidationError as error:
        _refuse_newer(data)
        raise ValueError(str(error)) from None
    if b'"min"' in data:
        _refuse_newer(data)
    return read


def _refuse_newer(data: bytes) -> None:
    with suppress(ValidationError):
        written = _written.validate_json(data, extra="ignore")
        if written.min is not None and written.min > FORMAT:
            raise Newer(f"it was written in format {written.min}, and this version reads up to {FORMAT}")
