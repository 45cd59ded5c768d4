"""A value in an anonymous file that the supervisor keeps open, so that it outlives the process that wrote it."""

import os

from balancer.errors import Refused

_SLOTS = (1 << 12, 1 << 40)
"""Where the two copies are: the one that counts, and the one that is being written. The file is sparse."""


class MemoryFile:
    """One value in an anonymous file, replaced as a whole: a process that is killed while it writes loses nothing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def load(self) -> bytes | None:
        """Return what was saved last; None if nothing was."""
        head = os.pread(self._fd, 16, 0)
        if not head:
            return None
        at, size = int.from_bytes(head[:8]), int.from_bytes(head[8:])
        data = b""
        while len(data) < size:
            data += os.pread(self._fd, size - len(data), at + len(data))
        return data

    def reserve(self, value: bytes) -> None:
        """Make room for a value like this one, so that saving it cannot fail. Raise ``Refused`` if there is none."""
        try:
            self._write(value)
        except OSError as error:
            reason = f"no memory for what a restarted control process would need: {error.strerror}"
            raise Refused(reason) from None

    def save(self, value: bytes) -> None:
        """Store ``value`` in place of what was saved before. Raise ``OSError``, and then that is still there."""
        at = self._write(value)
        self._write_at(at.to_bytes(8) + len(value).to_bytes(8), 0)

    def _write(self, value: bytes) -> int:
        """Write the copy that does not count; return where it is."""
        head = os.pread(self._fd, 8, 0)
        at = _SLOTS[1] if head and int.from_bytes(head) == _SLOTS[0] else _SLOTS[0]
        self._write_at(value, at)
        return at

    def _write_at(self, value: bytes, at: int) -> None:
        data = memoryview(value)
        while data:
            written = os.pwrite(self._fd, data, at)
            at += written
            data = data[written:]
