"""Standard error that never blocks, whatever reads it.

Some facts. A pipe holds 64 KiB; when it is not read, the next write(2) waits forever: Docker under load, ``| less``,
a terminal after Ctrl-S, a hung disk. ``O_NONBLOCK`` is no way out: it belongs to the open file description (open(2)),
which all our processes share with the shell that started us. To open ``/proc/self/fd/2`` once more gives a description
of our own, but not for sockets, nor after privileges were dropped, and a file on a hung disk blocks all the same. nginx
and haproxy block, or lose lines.

So text is kept in memory and a thread writes it; only the thread waits. Text that would make more than ``MOST_WAITING``
is dropped and counted, and the number is logged once something was written again. At the end of the process what is
waiting gets ``GOODBYE_TIMEOUT`` seconds. ``sys.stderr`` is replaced, so this includes tracebacks, warnings and what the
interpreter itself says. The thread is made with the first text, and blocks all signals: those are for the main thread.
"""

import atexit
import io
import logging
import os
import queue
import select
import signal
import sys
import threading

logger = logging.getLogger("balancer.log")

MOST_WAITING = 1 << 20
"""Characters that wait at most for a reader, not counting the last line."""
GOODBYE_TIMEOUT = 1.0
"""Seconds that writing may take at the end of the process."""
_STDERR = 2
_AT_ONCE = 1 << 15
"""Characters written at a time, at least one line."""


def keep_stderr_from_blocking() -> None:
    """Replace ``sys.stderr`` for the rest of the process."""
    if not isinstance(sys.stderr, StderrWriter):
        sys.stderr = StderrWriter(_STDERR)
        atexit.register(sys.stderr.wait, GOODBYE_TIMEOUT)


def open_standard_streams() -> None:
    """Have closed ones of the descriptors 0 to 2 lead nowhere: else they are those of other files before long."""
    for fd in range(_STDERR + 1):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free


class StderrWriter(io.TextIOBase):
    """A text stream that keeps lines for a thread, which writes them to the descriptor ``fd``."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.lost = 0
        """Lines dropped and not reported yet."""
        self._fd = fd
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.RLock()  # garbage collection may make an object write that ends inside of our own write
        self._unfinished = ""
        self._taken = 0
        """Characters put into the queue so far."""
        self._written = 0
        """Characters out of the queue and done with so far. Changed by the thread only."""
        self._done = threading.Event()
        """Set while nothing waits."""
        self._done.set()
        self._thread: threading.Thread | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, text: str) -> int:
        """Keep ``text``, and have whole lines written; without room they are dropped."""
        with self._lock:
            self._unfinished += text
            if "\n" in text:
                lines, _, self._unfinished = self._unfinished.rpartition("\n")
                self._put(lines + "\n")
        return len(text)

    def flush(self) -> None:
        """Do nothing: ``wait`` waits."""

    def wait(self, timeout: float) -> bool:
        """Wait until everything is written, for so many seconds at most; return whether it is."""
        with self._lock:
            if self._unfinished:
                lines, self._unfinished = self._unfinished, ""
                self._put(lines)
        return self._done.wait(timeout)

    def _put(self, lines: str) -> None:
        waiting = self._taken - self._written
        if waiting and waiting + len(lines) > MOST_WAITING:
            self.lost += lines.count("\n")
            return
        self._taken += len(lines)
        self._done.clear()
        self._lines.put(lines)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        """Start the thread; without room for one, the next line tries again."""
        thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            thread.start()
            self._thread = thread
        except (RuntimeError, MemoryError):
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _run(self) -> None:
        while True:
            text = self._lines.get()
            while len(text) < _AT_ONCE and not self._lines.empty():
                text += self._lines.get()
            written = self._write_all(text.encode("utf-8", "backslashreplace"))
            with self._lock:
                self._written += len(text)
                lost = 0
                if not written:
                    self.lost += text.count("\n")
                else:
                    lost, self.lost = self.lost, 0
                if self._written == self._taken:
                    self._done.set()
            if lost:
                logger.warning("%d log lines were lost: standard error did not take them", lost)

    def _write_all(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:  # another process has set O_NONBLOCK on the shared file description
                try:
                    select.select([], [self._fd], [])
                except (OSError, ValueError):
                    return False
            except OSError:  # the reader is gone, or the disk is full
                return False
        return True
