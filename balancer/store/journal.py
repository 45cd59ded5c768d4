"""The state directory: what operators have decided, so that it outlives the process.

``journal.jsonl`` is the truth: one line per change, appended and fsynced before the change is acknowledged. A line that
the power, or kill -9, cut short was never acknowledged and is dropped. ``overlay.json`` is the sum of the lines up to
a number, replaced atomically; damaged or lost, it is made again from the journal. A file that cannot be read is set
aside under a name that says so, a line that cannot be read stays where it is: nothing is deleted. ``secret.key`` is
the secret of the daemon, unless ``key_file`` names another; ``digest.key`` is the key of the token digests, derived
from the secret once and kept, because pins and logs have digests.

The journal grows for years, so nothing reads it as a whole. A start reads it backwards, to the first line that
``overlay.json`` has; the newest lines are found the same way. To look back, there are sums in
``checkpoints``, about one for each ``CHECKPOINT_EVERY`` bytes of the journal, made when a change is saved or, where
they are missing, when an operator has looked back. They are an index: without them, looking back only takes longer.
"""

import contextlib
import fcntl
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

from balancer.config.key_file import SECRET_BYTES, derive
from balancer.errors import InUse, Refused, disk_reason
from balancer.overlay.entries import Entry, RingRecord
from balancer.overlay.overlay import Overlay
from balancer.store.atomic import replace_file, set_aside
from balancer.store.checkpoints import Checkpoints
from balancer.store.lines import lines_back, lines_from, whole_size
from balancer.store.snapshot import Newer, Snapshot, dump_snapshot, load_snapshot, read_entry

logger = logging.getLogger("balancer.state")

CLOCK_SLACK = 3600.0
"""Seconds by which a clock may have been set back: that far we look behind the time asked for."""


class Journal:
    """A state directory, held by this process alone while it is open. Its methods block: call them in a thread.

    ``append`` and ``save`` are called one after another; the others at any time.
    """

    def __init__(self, folder: Path, secret: bytes | None = None) -> None:
        """Make and lock the directory; ``secret`` is used in place of its own.

        Raises ``Refused`` when another daemon holds it or it cannot be used.
        """
        self.folder = folder
        self._path = folder / "journal.jsonl"
        self._state_path = folder / "overlay.json"
        self._checkpoints = Checkpoints(folder / "checkpoints")
        self._written = Snapshot()
        """The number, time and counts of the entries in the journal."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            file = isinstance(error, FileExistsError | NotADirectoryError)
            advice = "it has to be a directory" if file else "make it writable for the daemon's user"
            raise Refused(f"state_dir {folder}: {disk_reason(error)}; {advice}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise InUse(f"state_dir {folder} is in use by another daemon; give each its own") from None
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            os.close(self._lock)
            raise Refused(f"{self._path}: {disk_reason(error)}; make room, or the file writable") from None
        try:
            self.key = self._load_digest_key(secret)
            """The key of the token digests, made at the first start."""
        except OSError as error:
            self.close()
            raise Refused(f"{folder / 'digest.key'}: {disk_reason(error)}; make room, or the file readable") from None
        except Refused:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the directory; may be repeated."""
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def load(self) -> Snapshot:
        """Return the state as last acknowledged. What is damaged is set aside, and logged.

        Raises ``Refused`` if it cannot be read, or was written by a version that is newer than ours.
        """
        try:
            return self._load()
        except OSError as error:
            raise Refused(f"{self._path}: {disk_reason(error)}; without it operators' changes are unknown") from None
        except Newer as error:
            raise Refused(
                f"{self.folder}: {error}: start the version again that ran here last, or start this one with "
                "--discard-newer, which keeps a copy and forgets what this version does not understand"
            ) from None

    def secret(self) -> bytes:
        """Return the directory's own secret, made when it is first needed. Raises ``Refused``."""
        path = self.folder / "secret.key"
        try:
            with contextlib.suppress(FileNotFoundError):
                secret = path.read_bytes()
                if len(secret) == SECRET_BYTES:
                    return secret
                set_aside(path, "is not a secret of 32 bytes; cookies and trace passes made with it are not accepted")
            secret = os.urandom(SECRET_BYTES)
            replace_file(path, secret)
        except OSError as error:
            raise Refused(f"{path}: {disk_reason(error)}; make room, or the file readable") from None
        return secret

    def append(self, *entries: Entry) -> None:
        """Write lines; they are on the disk when this returns. Raises ``Refused`` if the disk does not take them."""
        lines = b"".join(entry.model_dump_json(exclude_none=True).encode() + b"\n" for entry in entries)
        try:
            end = os.fstat(self._fd).st_size
            try:
                view = memoryview(lines)
                while view:
                    view = view[os.write(self._fd, view) :]
                os.fsync(self._fd)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, end)
                raise
        except OSError as error:
            raise Refused(f"{self._path}: {disk_reason(error)}; nothing was changed") from None
        for entry in entries:
            self._written.count(entry)

    def save(
        self, seq: int, overlays: Mapping[str, Overlay], configs: Mapping[str, RingRecord], now: float = 0.0
    ) -> None:
        """Write the sum of all entries, up to ``seq``, as it is at Unix time ``now``.

        A failure is only logged: the journal has them.
        """
        written = self._written
        snapshot = Snapshot(seq, written.time, now, dict(written.counts), dict(overlays), dict(configs))
        data = dump_snapshot(snapshot)
        try:
            replace_file(self._state_path, data)
            self._checkpoints.add(os.fstat(self._fd).st_size, snapshot.time, data)
        except OSError as error:
            logger.error("%s: %s; the journal still has every change", self._state_path, disk_reason(error))

    def newest(self, pool: str, limit: int) -> tuple[list[Entry], int]:
        """Return the newest entries of a pool, oldest first, and how many there are in all. Raises ``Refused``."""
        found: list[Entry] = []
        named = f'"{pool}"'.encode()
        try:
            for _, line in lines_back(self._fd, whole_size(self._fd)):
                if len(found) == limit:
                    break
                if named in line and (entry := _readable(line)) is not None and entry.pool == pool:
                    found.append(entry)
        except OSError as error:
            raise Refused(f"{self._path}: {disk_reason(error)}") from None
        return found[::-1], self._written.counts.get(pool, 0)

    def state_at(self, pool: str, at: float) -> tuple[RingRecord, Overlay] | None:
        """Return a pool's configuration and overlay at a time in the past; None if the journal does not reach back.

        Raises ``Refused`` if it cannot be read.
        """
        try:
            begin, snapshot = self._latest_checkpoint(at)
            complete = True
            """Whether nothing was left out so far, so that the sum may become a checkpoint."""
            for behind, line in lines_from(self._fd, begin, whole_size(self._fd)):
                entry = _readable(line)
                if entry is None:
                    continue
                if entry.time > at + CLOCK_SLACK:
                    break
                if entry.time <= at:
                    snapshot.add(entry)
                complete = complete and entry.time <= at
                if complete and self._checkpoints.due(behind):
                    self._checkpoints.add(behind, snapshot.time, dump_snapshot(snapshot))
        except OSError as error:
            raise Refused(f"{self._path}: {disk_reason(error)}") from None
        config = snapshot.configs.get(pool)
        return None if config is None else (config, snapshot.overlays.get(pool, Overlay()))

    def discard_newer(self) -> None:
        """Take out what a newer version has written in a format that we cannot read, and keep a copy of the files.

        Raises ``Refused`` if that cannot be done.
        """
        try:
            kept, newer = [], 0
            for _, line in lines_from(self._fd, 0, whole_size(self._fd)):
                if _is_newer(line):
                    newer += 1
                else:
                    kept.append(line + b"\n")
            state = self._state_path.read_bytes() if self._state_path.exists() else b""
            if not newer and not _is_newer(state):
                return
            self._checkpoints.clear()
            if state:
                set_aside(self._state_path, "may hold what a newer version has changed", "newer")
            if newer:
                set_aside(self._path, f"has {newer} lines of a newer version, which are discarded", "newer")
                replace_file(self._path, b"".join(kept))
                os.close(self._fd)
                self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refused(f"{self._path}: {disk_reason(error)}; what is newer cannot be discarded") from None

    def _load(self) -> Snapshot:
        whole = whole_size(self._fd)
        if whole < os.fstat(self._fd).st_size:
            logger.warning("%s: its last line was never finished, so never acknowledged: dropped", self._path)
            os.ftruncate(self._fd, whole)
        snapshot = self._load_state(whole)
        lines = self._unread(snapshot, whole)
        if snapshot is None:
            begin, snapshot = self._latest_checkpoint(math.inf)
            lines = [(behind - len(line) - 1, line) for behind, line in lines_from(self._fd, begin, whole)]
        known = snapshot.seq
        damaged = []
        for begin, line in lines:
            try:
                entry = read_entry(line)
            except ValueError:
                damaged.append(begin)
            else:
                if entry.seq > known:
                    snapshot.add(entry)
        if damaged:
            numbers = ", ".join(str(self._line_number(begin)) for begin in damaged)
            logger.error("%s: damaged and ignored: line %s", self._path, numbers)
        self._written = Snapshot(snapshot.seq, snapshot.time, counts=dict(snapshot.counts))
        return snapshot

    def _unread(self, snapshot: Snapshot | None, whole: int) -> list[tuple[int, bytes]]:
        """Return the lines that the sum does not have, each with its offset; the last of those it has may be there."""
        lines: list[tuple[int, bytes]] = []
        if snapshot is not None:
            for each in lines_back(self._fd, whole):
                entry = _readable(each[1])
                if entry is not None and entry.seq <= snapshot.seq:
                    break
                lines.append(each)
        return lines[::-1]

    def _load_state(self, whole: int) -> Snapshot | None:
        try:
            snapshot, counted = load_snapshot(self._state_path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, OSError):
            set_aside(self._state_path, "is damaged; the state is made again from the journal")
            return None
        if not counted:
            self._count(snapshot, whole)
        return snapshot

    def _count(self, snapshot: Snapshot, whole: int) -> None:
        """Count the entries of a sum that an older version has written."""
        pools = {pool: re.compile(rb'"pool"\s*:\s*"%b"' % pool.encode()) for pool in snapshot.configs}
        unread = {begin for begin, _ in self._unread(snapshot, whole)}
        last: bytes = b""
        for behind, line in lines_from(self._fd, 0, whole):
            if behind - len(line) - 1 in unread:
                break
            last = line
            for pool, pattern in pools.items():
                if pattern.search(line):
                    snapshot.counts[pool] = snapshot.counts.get(pool, 0) + 1
        entry = _readable(last)
        snapshot.time = entry.time if entry is not None else 0.0

    def _latest_checkpoint(self, at: float) -> tuple[int, Snapshot]:
        """Return the last checkpoint whose entries are all of that time or before; the beginning, if there is none."""
        for offset, snapshot in self._checkpoints.before(at):
            for _, line in lines_back(self._fd, offset) if offset <= whole_size(self._fd) else ():
                entry = _readable(line)
                if entry is not None:
                    if entry.seq == snapshot.seq:
                        return offset, snapshot
                    break  # it is of another journal
        return 0, Snapshot()

    def _line_number(self, begin: int) -> int:
        return 1 + sum(1 for _ in lines_from(self._fd, 0, begin))

    def _load_digest_key(self, secret: bytes | None) -> bytes:
        path = self.folder / "digest.key"
        with contextlib.suppress(FileNotFoundError):
            key = path.read_bytes()
            if len(key) == 32:
                return key
            set_aside(path, "is not a key of 32 bytes; digests in old logs and pins no longer match")
        key = derive(self.secret() if secret is None else secret, "digest")
        replace_file(path, key)
        return key


def _readable(line: bytes) -> Entry | None:
    try:
        return read_entry(line)
    except (ValueError, Newer):
        return None


def _is_newer(data: bytes) -> bool:
    try:
        read_entry(data)
    except Newer:
        return True
    except ValueError:
        pass
    return False
