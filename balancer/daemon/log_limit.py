"""Limit floods of messages: write some of them, and how many were left out.

Messages are alike if they come from the same line of the program and are about the same backend. Of those,
``BURST`` are written within ``WINDOW``, then a notice that there are more. Their number is logged before the next
comes after it, whatever that is about.
"""

import logging
import time
from collections.abc import Callable

BURST = 20
WINDOW = 10.0
"""Seconds."""
_REMEMBERED = 1000
"""Most kinds of messages; above that all are forgotten, to bound memory."""

Kind = tuple[str, int, str, str]


class _Window:
    """Messages of one kind since ``began``."""

    __slots__ = ("began", "number")

    def __init__(self, began: float) -> None:
        self.began = began
        self.number = 0


class Limited(logging.Handler):
    """Passes messages on to ``target`` unless they are a flood; ``now`` returns monotonic seconds."""

    def __init__(self, target: logging.Handler, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._target = target
        self._now = now
        self._windows: dict[Kind, _Window] = {}

    def close(self) -> None:
        """Log what was left out, and close the target."""
        self._look_back(float("inf"))
        self._target.close()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on, or count it."""
        now = self._now()
        self._look_back(now)
        kind = (record.name, record.levelno, str(record.msg), str(getattr(record, "backend", "")))
        if (window := self._windows.get(kind)) is None:
            if len(self._windows) >= _REMEMBERED:
                self._look_back(float("inf"))
            window = self._windows[kind] = _Window(now)
        window.number += 1
        if window.number <= BURST:
            self._target.handle(record)
        elif window.number == BURST + 1:
            self._tell(kind, f"more of these are left out for {WINDOW:g} s")

    def _look_back(self, now: float) -> None:
        """Forget the windows that are over; log how many messages each left out."""
        for kind in [kind for kind, window in self._windows.items() if now >= window.began + WINDOW]:
            left_out = self._windows.pop(kind).number - BURST
            if left_out > 0:
                self._tell(kind, f"{left_out} similar messages were left out")

    def _tell(self, kind: Kind, text: str) -> None:
        name, level, template, backend = kind
        about = {"backend": backend} if backend else {}
        words = {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": f"{text}: {template}"}
        self._target.handle(logging.makeLogRecord(words | about))
