"""A value in an anonymous file that the supervisor keeps open, so that it outlives the process that wrote it."""

import os

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

    def save(self, value: bytes) -> None:
        """Store ``value`` in place of what was saved before."""
        data = memoryview(value)
        head = os.pread(self._fd, 8, 0)
        at = _SLOTS[1] if head and int.from_bytes(head) == _SLOTS[0] else _SLOTS[0]
        written = 0
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], at + written)
        os.pwrite(self._fd, at.to_bytes(8) + len(data).to_bytes(8), 0)
