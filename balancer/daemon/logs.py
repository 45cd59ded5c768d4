"""Send log messages to standard error, as text or JSON, or to the systemd journal.

Some facts. Standard error that leads to the journal is known by ``JOURNAL_STREAM`` (systemd.exec(5)); then the socket
for entries with fields lies beside the one it is connected to, in a namespace of its own as well (``LogNamespace=``).
Where there is none, lines begin with their priority, as sd-daemon(3) has it. A message has a text, and with ``extra``
it says what it is about, under the names of ``ABOUT``.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from balancer.config.scalars import Level, LogFormat
from balancer.daemon.journald import PRIORITIES, JournalHandler
from balancer.daemon.log_limit import Limited
from balancer.shared.log_level import set_level

ABOUT = ("pool", "backend", "listener")
"""Attributes of a record that tell what it is about."""


def start_logs(environ: Mapping[str, str], level: Level = "info", form: LogFormat = "text") -> None:
    """Set up logging of this process; call it again to change level and format."""
    root = logging.getLogger()
    for former in [each for each in root.handlers if isinstance(each, Limited)]:
        root.removeHandler(former)
        former.close()
    root.addHandler(Limited(_handler(form, environ, sys.stderr.fileno())))
    set_level(level)


def about(record: logging.LogRecord) -> dict[str, str]:
    """Return what a message is about."""
    return {name: str(getattr(record, name)) for name in ABOUT if hasattr(record, name)}


class TextFormatter(logging.Formatter):
    """A line for people; a traceback follows on its own lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """``time`` (RFC 3339), ``level``, ``logger``, ``message``, what it is about, and a ``traceback``."""
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **about(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class PriorityFormatter(logging.Formatter):
    """Prefix each line with its priority, as in sd-daemon(3), for the journal."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines, those of a traceback as well."""
        prefix = f"<{PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).split("\n"))


def _handler(form: LogFormat, environ: Mapping[str, str], fd: int) -> logging.Handler:
    to_journal = _leads_to_journal(environ, fd)
    if to_journal and (path := _entry_socket(fd)) is not None:
        with suppress(OSError):  # no descriptor left: standard error leads to the journal as well
            return JournalHandler(path, about)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PriorityFormatter() if to_journal else JsonFormatter() if form == "json" else TextFormatter())
    return handler


def _leads_to_journal(environ: Mapping[str, str], fd: int) -> bool:
    target = os.fstat(fd)  # it may have been redirected since (systemd.exec(5))
    return environ.get("JOURNAL_STREAM") == f"{target.st_dev}:{target.st_ino}"


def _entry_socket(fd: int) -> Path | None:
    """Return the entry socket of the journal that ``fd`` is connected to, if it can be reached."""
    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as stream:
        peer = stream.getpeername()
        if isinstance(peer, str) and peer and (path := Path(peer).with_name("socket")).is_socket():
            return path
    return None
