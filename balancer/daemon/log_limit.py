"""Messages that come in floods are cut down to some, and a word on how many there were.

Messages are alike if they come from one place in the program and are about the same backend. Of those that are alike
``BURST`` are written within ``WINDOW``; then no more until it is over, and how many were left out is told, by
the next message whatsoever.
"""

import logging
import time
from collections.abc import Callable

BURST = 20
WINDOW = 10.0
"""Seconds."""
_REMEMBERED = 1000
"""Kinds of messages; then all are forgotten, so that strange ones cost no more than memory."""

Kind = tuple[str, int, str, str]


class _Window:
    """The messages of a kind since ``began``."""

    __slots__ = ("began", "number")

    def __init__(self, began: float) -> None:
        self.began = began
        self.number = 0


class Limited(logging.Handler):
    """Passes on to ``target`` what is no flood; ``now`` tells the time in seconds, from any beginning."""

    def __init__(self, target: logging.Handler, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._target = target
        self._now = now
        self._windows: dict[Kind, _Window] = {}

    def close(self) -> None:
        """Tell what was left out, and close the target."""
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

    def _look_back(self, now: float) -> None:
        """Forget the windows that are over, with a word on each that had too many messages."""
        over = [kind for kind, window in self._windows.items() if now >= window.began + WINDOW]
        for name, level, template, backend in over:
            left_out = self._windows.pop((name, level, template, backend)).number - BURST
            if left_out > 0:
                text = f"{left_out} similar messages were left out: {template}"
                about = {"backend": backend} if backend else {}
                self._target.handle(logging.makeLogRecord({"name": name, "levelno": level, "msg": text, **about,
                                                           "levelname": logging.getLevelName(level)}))  # fmt: skip
