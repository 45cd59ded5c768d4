"""Access log lines as datagrams: to syslog over a Unix socket or UDP (RFC 5424, RFC 5426), or to the journal.

Everything here may block for a moment: call it in a thread. A receiver that is gone may be back in a moment, and a full
one may have room again, so the socket is made when there are lines for it, and anew after a failure.
"""

import errno
import socket
import threading
import time
from contextlib import suppress

from balancer.config.scalars import parse_address
from balancer.errors import Refused
from balancer.proxy.log_target import RETRY_AFTER, SLOW

JOURNAL = "/run/systemd/journal/socket"
"""https://systemd.io/JOURNAL_NATIVE_PROTOCOL/"""
_ENTRY = b"PRIORITY=6\nSYSLOG_IDENTIFIER=balancer\nBALANCER_LOGGER=access\nMESSAGE="
_PATIENCE = 1.0
"""Seconds for a receiver to take one line."""
_ALWAYS_FITS = 8192
"""Bytes of a line that every receiver takes; one that is too long for a datagram is cut."""


def check_receiver(target: str) -> None:
    """Raise ``Refused`` if nobody receives at a Unix socket; over UDP that cannot be told."""
    address = _address(target)
    if isinstance(address, str):
        try:
            _connected(address).close()
        except OSError as error:
            advice = "is systemd running?" if target == "journal" else "start the syslog daemon, or name its socket"
            raise Refused(f"{address}: {error.strerror}; {advice}", ("log", "access")) from None


class DatagramTarget:
    """``target`` is ``journal``, ``syslog:/path`` or ``syslog:address:port``. One thread at a time may write."""

    def __init__(self, target: str) -> None:
        self._address = _address(target)
        self._before, self._after = (_ENTRY, b"\n") if target == "journal" else (b"", b"")
        self._socket: socket.socket | None = None
        self._failed: tuple[float, str] | None = None
        """When sending failed last, and why; None if it went well."""
        self._busy = threading.Lock()

    def write(self, lines: bytearray, *, anew: bool = False) -> tuple[int, str]:
        """Send whole lines; return how many were lost, and why, if any were. ``anew`` makes the socket again first."""
        if not anew and self._failed is not None and time.monotonic() < self._failed[0] + RETRY_AFTER:
            return lines.count(b"\n"), self._failed[1]
        with self._busy:
            if anew:
                self._drop()
            waiting = bytes(lines).split(b"\n")[:-1]
            for sent, line in enumerate(waiting):
                try:
                    self._send(line)
                except OSError as error:
                    self._drop()
                    reason = SLOW if isinstance(error, TimeoutError) else error.strerror or str(error)
                    self._failed = time.monotonic(), reason
                    return len(waiting) - sent, reason
        self._failed = None
        return 0, ""

    def close(self) -> None:
        """Close the socket, unless a thread still sends: its end closes it. Never blocks."""
        if self._busy.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._busy.release()

    def _send(self, line: bytes) -> None:
        if self._socket is None:
            self._socket = _connected(self._address)
        try:
            self._socket.send(self._before + line + self._after)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._socket.send(self._before + line[:_ALWAYS_FITS] + self._after)

    def _drop(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None


def _address(target: str) -> str | tuple[str, int]:
    """Return the path of a Unix socket, or an IP address and a port."""
    name = target.removeprefix("syslog:")
    if target == "journal":
        return JOURNAL
    if name.startswith("/"):
        return name
    address = parse_address(name)
    return address.host, address.port


def _connected(address: str | tuple[str, int]) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        made.settimeout(_PATIENCE)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made
