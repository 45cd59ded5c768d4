"""The file or pipe that lines of the access log are written to. Everything here may block: call it in a thread.

Some facts. A file may be gone, or its folder, its disk full, or its reader; all of that may be over in a moment, and
none of it is a reason not to serve. So the file is opened when there are lines for it, and again after a failure. A
thread that hangs in a write is left behind, and with it the descriptor: closed under it, its number would soon be that
of a client's connection, which the rest of the lines would then be written to.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

from balancer.errors import Refused, disk_reason

RETRY_AFTER = 1.0
"""Seconds before something is written again after a failure."""
SLOW = "it does not take lines as fast as they come"
_STDOUT = 1


def check_file(target: Path) -> None:
    """Raise ``Refused`` if lines cannot be written there."""
    try:
        os.close(_open(target, os.O_NONBLOCK))  # opening a pipe without a reader would block
    except OSError as error:
        raise Refused(f"{target}: {disk_reason(error)}; {_advice(target, error)}", ("log", "access")) from None


def _advice(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.EISDIR:
            return f"give the path of a file, such as {path / 'access.log'}"
        case errno.ENOENT:
            return f"make the directory {path.parent}"
        case errno.ENOTDIR:
            return "a part of the path is a file: give the path of a directory's file"
        case errno.ENOSPC | errno.EDQUOT:
            return "make room"
        case errno.ENXIO:
            return "start the program that reads this pipe first"
        case _:
            return "make it writable for the daemon's user"


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | flags, 0o640)


class LogTarget:
    """``target`` is ``stdout`` or the path of a file that is appended to. One thread at a time may write."""

    def __init__(self, target: str | Path) -> None:
        self._path = target if isinstance(target, Path) else None
        self._fd = -1 if self._path else _STDOUT
        self._rest = b""
        """A newline, if the last line was cut off."""
        self._failed: tuple[float, str] | None = None
        """When writing failed last, and why; None if it went well."""
        self._busy = threading.Lock()
        self._closing = False

    def write(self, lines: bytearray, *, anew: bool = False) -> tuple[int, str]:
        """Write whole lines; return how many were lost, and why, if any were. ``anew`` opens the file again first."""
        if not anew and self._failed is not None and time.monotonic() < self._failed[0] + RETRY_AFTER:
            return lines.count(b"\n"), self._failed[1]
        with self._busy:
            if anew:
                self._leave()
            written, reason = self._write(lines)
        if self._closing:
            self.close()
        self._failed = (time.monotonic(), reason) if reason else None
        return lines.count(b"\n", written), reason

    def close(self) -> None:
        """Close the file, at once or when the thread that writes comes back. Never blocks."""
        self._closing = True
        if self._busy.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._busy.release()

    def _write(self, lines: bytearray) -> tuple[int, str]:
        """Write lines; return how many bytes of whole lines were written, and why not all."""
        text: bytes | bytearray = lines
        begin = done = 0
        try:
            if self._fd < 0 and self._path is not None:
                self._fd = _open(self._path)
            if self._rest and os.fstat(self._fd).st_size:  # else it is another file than that of the line cut off
                text, begin = self._rest + lines, len(self._rest)
            data = memoryview(text)
            # One worker at a time: in a pipe, more than PIPE_BUF bytes of several would mix (pipe(7)). The lock is that
            # of the file itself (fcntl(2)), and ends with its process. What cannot be locked is written.
            with suppress(OSError):
                fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                while done < len(data):
                    done += os.write(self._fd, data[done:])
            finally:
                with suppress(OSError):
                    fcntl.lockf(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            self._drop()
            whole = text.rfind(b"\n", 0, done) + 1
            if done:
                self._rest = b"" if whole == done else b"\n"
            return max(0, whole - begin), disk_reason(error)
        self._rest = b""
        return len(lines), ""

    def _leave(self) -> None:
        """Close a file that may have been renamed, but not a pipe: its reader would see the end."""
        try:
            pipe = self._fd >= 0 and not stat.S_ISREG(os.fstat(self._fd).st_mode)
        except OSError:  # a network disk that no longer knows it
            pipe = False
        if not pipe:
            self._drop()

    def _drop(self) -> None:
        """Close the file; the next line opens it anew."""
        if self._path is not None and self._fd >= 0:
            fd, self._fd = self._fd, -1
            with suppress(OSError):  # of what was written before; the descriptor is closed all the same (close(2))
                os.close(fd)
