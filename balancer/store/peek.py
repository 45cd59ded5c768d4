"""Read the state directory of a running daemon, without its lock, and without changing anything in it."""

import os
from pathlib import Path

from balancer.errors import Refused, disk_reason
from balancer.store.lines import lines_back, whole_size
from balancer.store.snapshot import Newer, Snapshot, load_snapshot, read_entry


def peek(folder: Path) -> Snapshot:
    """Return the state as last acknowledged. Raise ``Refused`` if this version cannot read it."""
    try:
        snapshot = _saved(folder / "overlay.json")
        fd = os.open(folder / "journal.jsonl", os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = []
            for _, line in lines_back(fd, whole_size(fd)):
                try:
                    entry = read_entry(line)
                except ValueError:  # damaged: ignored by a start as well
                    continue
                if entry.seq <= snapshot.seq:
                    break
                lines.append(entry)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return Snapshot()
    except OSError as error:
        raise Refused(f"{folder}: {disk_reason(error)}") from None
    except Newer as error:
        raise Refused(f"{folder}: {error}") from None
    for entry in reversed(lines):
        snapshot.add(entry)
    return snapshot


def _saved(path: Path) -> Snapshot:
    """Return the saved sum; the empty one if there is none that can be read, as the journal has everything."""
    try:
        return load_snapshot(path.read_bytes())[0]
    except (FileNotFoundError, ValueError):
        return Snapshot()
