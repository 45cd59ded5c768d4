"""Sums of the journal up to places in it, so that looking back need not begin at its first line."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

from balancer.errors import disk_reason
from balancer.store.atomic import replace_file
from balancer.store.snapshot import Newer, Snapshot, load_snapshot

logger = logging.getLogger("balancer.state")

CHECKPOINT_EVERY = 1 << 19
"""Bytes of the journal between two."""
SHARE = 4
"""They are further apart if they are large, so that they take at most one ``SHARE``-th of what the journal takes."""


class Checkpoints:
    """A folder with a file for each: ``OFFSET-TIME.json``, where the time is the latest of its entries in seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._every = CHECKPOINT_EVERY
        self._known: dict[int, tuple[float, Path]] = {}
        """By offset, the time and the file."""
        for path in folder.glob("*-*.json"):
            offset, _, time = path.stem.partition("-")
            if offset.isdecimal() and time.isdecimal():
                self._known[int(offset)] = float(time), path

    def due(self, offset: int) -> bool:
        """Return whether there is none near this offset."""
        return all(abs(offset - known) >= self._every for known in [0, *list(self._known)])

    def add(self, offset: int, time: float, data: bytes) -> None:
        """Write one, if it is due. Raises ``OSError``."""
        self._every = max(CHECKPOINT_EVERY, SHARE * len(data))
        if self.due(offset):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / f"{offset:015d}-{math.ceil(time):012d}.json"
            replace_file(path, data)
            self._known[offset] = math.ceil(time), path

    def before(self, at: float) -> Iterator[tuple[int, Snapshot]]:
        """Yield those whose entries are all of that time or before, each with its offset, the last first."""
        for offset, (time, path) in sorted(list(self._known.items()), reverse=True):
            if time <= at:
                try:
                    yield offset, load_snapshot(path.read_bytes())[0]
                except (OSError, ValueError, Newer) as error:
                    reason = disk_reason(error) if isinstance(error, OSError) else "damaged"
                    logger.warning("%s: %s; it is not needed", path, reason)

    def clear(self) -> None:
        """Forget all. Raises ``OSError``."""
        for offset, (_, path) in list(self._known.items()):
            path.unlink(missing_ok=True)
            del self._known[offset]
