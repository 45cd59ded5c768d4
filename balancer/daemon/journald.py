"""Messages as entries of the systemd journal, with fields to search by (the Native Journal Protocol).

An entry is a datagram of fields: ``NAME=value`` and a newline; or the name, a newline, the length of the value in 64
bits and the value, for one with newlines in it. An entry that is too long for a datagram is sent as the descriptor of a
sealed memfd that holds it. The journal is never waited for: what it cannot take now is counted, and said with the
next entry that it takes. https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""Priorities of syslog(3)."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class JournalHandler(logging.Handler):
    """Sends to the journal's socket at ``path``; ``about`` returns the fields ``BALANCER_*`` of a record."""

    def __init__(self, path: Path, about: Callable[[logging.LogRecord], Mapping[str, str]]) -> None:
        super().__init__()
        self._path = str(path)
        self._about = about
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._lost = 0

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one entry."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "balancer",
            "BALANCER_LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            **{f"BALANCER_{name.upper()}": value for name, value in self._about(record).items()},
        }
        if self._lost:
            fields["MESSAGE"] += f" ({self._lost} messages before this one are lost: the journal did not take them)"
        try:
            self._send(entry(fields))
            self._lost = 0
        except OSError:  # it is busy or restarting
            self._lost += 1

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_descriptor(data)

    def _send_descriptor(self, data: bytes) -> None:
        fd = os.memfd_create("balancer-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, "little"))]
            self._socket.sendmsg([], rights, 0, self._path)
        finally:
            os.close(fd)


def entry(fields: Mapping[str, str]) -> bytes:
    """Return an entry in the journal's native format."""
    parts = []
    for name, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            parts.append(b"%b\n%b%b\n" % (name.encode(), len(value).to_bytes(8, "little"), value))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), value))
    return b"".join(parts)
