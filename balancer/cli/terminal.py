"""A full-screen terminal: the alternate screen, single keys, and updates of the lines that changed.

Some facts. ECMA-48 and xterm's alternate screen are understood by every terminal of the last thirty years, so terminfo
is not used: terminals reached over ssh are often missing from it. Only changed lines are written, in a single write, so
nothing flickers and a slow connection carries little. A key that is not a letter arrives as an escape sequence, which a
slow connection may split.
"""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from balancer.cli.tables import TableCell
from balancer.errors import Refused

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""Alternate screen, no cursor, no line wrap, cleared."""
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_STYLES = {"good": "32", "warning": "33", "bad": "31", "head": "1", "selected": "7", "faint": "2"}
_COLOURS = ("good", "warning", "bad")
_KEYS = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1bOH": "home",
    b"\x1b[1~": "home",
    b"\x1b[F": "end",
    b"\x1bOF": "end",
    b"\x1b[4~": "end",
    b"\x1b": "escape",
    b"\x03": "q",  # Ctrl-C
    b"\x04": "q",  # Ctrl-D
    b"\r": "enter",
    b"\n": "enter",
}
_SEQUENCE_TIMEOUT = 0.05
"""Seconds to wait for the rest of an escape sequence."""


class Terminal:
    """The terminal on standard input and output, in full-screen mode; signals make the descriptor ``wake`` readable."""

    def __init__(self, wake: int) -> None:
        self._wake = wake
        self._shown: list[str] = []
        self._size = os.terminal_size((0, 0))
        self._plain = bool(os.environ.get("NO_COLOR"))

    @property
    def size(self) -> os.terminal_size:
        """Columns and lines now; 80 and 24, those of a VT100, if the terminal does not know."""
        columns, lines = os.get_terminal_size(sys.stdout.fileno())
        return os.terminal_size((columns or 80, lines or 24))

    def show(self, lines: Sequence[Sequence[TableCell]]) -> None:
        """Replace the content of the screen by these lines, cut off at its size."""
        size = self.size
        if size != self._size:
            self._size, self._shown = size, []
            _write("\x1b[2J")
        painted = [self._painted(line, size.columns) for line in lines[: size.lines]]
        painted += [""] * (size.lines - len(painted))
        known = self._shown or [""] * size.lines
        changed = [f"\x1b[{row};1H{line}\x1b[K" for row, line in enumerate(painted, start=1) if line != known[row - 1]]
        self._shown = painted
        if changed:
            _write("".join(changed))

    def keys(self, seconds: float) -> list[str]:
        """Wait up to ``seconds`` for a key or a resize, and return the keys pressed."""
        ready, _, _ = select.select([sys.stdin, self._wake], [], [], max(0.0, seconds))
        if self._wake in ready:
            os.read(self._wake, 64)
        if sys.stdin not in ready:
            return []
        data = os.read(sys.stdin.fileno(), 64)
        if not data:  # the terminal is gone
            return ["q"]
        while _unfinished(data) and select.select([sys.stdin], [], [], _SEQUENCE_TIMEOUT)[0]:
            data += os.read(sys.stdin.fileno(), 64)
        return list(_keys(data))

    def _painted(self, line: Sequence[TableCell], width: int) -> str:
        parts = []
        for cell in line:
            text = cell.text[:width]
            width -= len(text)
            style = "" if self._plain and cell.colour in _COLOURS else _STYLES.get(cell.colour, "")
            parts.append(f"\x1b[{style}m{text}\x1b[0m" if style and text else text)
        return "".join(parts)


@contextmanager
def full_screen() -> Iterator[Terminal]:
    """Enter full-screen mode; restore the terminal however the block ends. Raises ``Refused`` without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise Refused("this needs a terminal; in scripts use `balancer status --json`")
    fd = sys.stdin.fileno()
    former = termios.tcgetattr(fd)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    former_wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    former_handlers = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, _end),
        signal.SIGHUP: signal.signal(signal.SIGHUP, _end),
    }
    try:
        tty.setraw(fd)
        _write(_ENTER)
        yield Terminal(reading)
    finally:
        with suppress(OSError, termios.error):  # the terminal may be gone
            _write(_LEAVE)
            termios.tcsetattr(fd, termios.TCSAFLUSH, former)
        for number, handler in former_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_wakeup)
        os.close(reading)
        os.close(writing)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(text: str) -> None:
    data = text.encode("ascii", "replace")
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def _unfinished(data: bytes) -> bool:
    """Whether ``data`` ends in the middle of an escape sequence."""
    rest = data[data.rfind(b"\x1b") :] if b"\x1b" in data else b""
    return rest in (b"\x1b", b"\x1b[", b"\x1bO") or (rest.startswith(b"\x1b[") and rest[-1:].isdigit())


def _keys(data: bytes) -> Iterator[str]:
    while data:
        known = max((each for each in _KEYS if data.startswith(each)), key=len, default=None)
        if known is not None:
            yield _KEYS[known]
            data = data[len(known) :]
        else:
            yield chr(data[0])
            data = data[1:]
