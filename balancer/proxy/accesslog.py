"""The access log: by default one JSON line per request, one at the opening and one at the close of a tunnel.

Lines are kept in memory and written by a thread, so a slow terminal, a stopped reader or a hanging disk never holds up
the data plane. What cannot be kept or written is dropped and counted. Tokens appear only as a keyed digest.
"""

import logging
import os
import socket
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import trio

from balancer.config.scalars import AccessFormat, Facility
from balancer.errors import DISK_FULL
from balancer.proxy.log_datagrams import DatagramTarget
from balancer.proxy.log_json import json_line
from balancer.proxy.log_lines import other_line
from balancer.proxy.log_target import SLOW, LogTarget
from balancer.proxy.record import Record
from balancer.shared.compiled import mypyc_attr
from balancer.shared.log_loss import Loss

logger = logging.getLogger("balancer.worker")

MAX_BUFFERED: Final = 8 << 20
"""Bytes of lines that wait at most for a writer that does not get on."""
FLUSH_INTERVAL: Final = 0.2
"""Seconds a line waits for others to be written with."""
GOODBYE_TIMEOUT: Final = 1.0
"""Seconds for the last lines."""


_FACILITIES: Final = {
    **{"user": 1, "daemon": 3, "auth": 4, "syslog": 5, "authpriv": 10},
    **{f"local{number}": 16 + number for number in range(8)},
}
"""Numbers of RFC 5424, 6.2.1."""
_INFORMATIONAL: Final = 6


def log_target(text: str) -> str | Path:
    """Return the target that a worker's settings name: a file, or what ``AccessLog`` says."""
    return Path(text) if text.startswith("/") else text


@mypyc_attr(allow_interpreted_subclasses=True)
class AccessLog:
    """Collects lines; ``run`` writes them.

    ``target`` is ``stdout``, ``off``, ``journal``, ``syslog:`` with a socket or an address, or a file that is appended
    to.
    """

    def __init__(self, target: str | Path, kind: AccessFormat = "json", facility: Facility = "local0") -> None:
        self.target = target
        self.enabled = target != "off"
        self._kind = kind
        self._syslog = ("", "")
        """What comes before and after the time in a line for syslog (RFC 5424, 6.2); empty for all others."""
        if isinstance(target, str) and target.startswith("syslog:"):
            priority = _FACILITIES[facility] * 8 + _INFORMATIONAL
            self._syslog = f"<{priority}>1 ", f" {_host_name()} balancer {os.getpid()} access - "
        self.dropped: Counter[Loss] = Counter()
        """Lines lost because the writer could not keep up or could not write."""
        self._told = -1.0
        """The ``now`` of the line written last, and its time of day."""
        self._time = ""
        self._second = -1
        self._second_text = ""
        """The second of that time of day, which hundreds of lines share."""
        self._lines = bytearray()
        self._count = 0
        self._leaving = 0
        """Bytes that are being written."""
        self._wake = trio.Event()
        datagrams = isinstance(target, str) and target.startswith(("journal", "syslog:"))
        self._file: LogTarget | DatagramTarget = DatagramTarget(str(target)) if datagrams else LogTarget(target)
        self._anew = False
        """Reopen the file before writing the next lines."""
        self._problem = ""
        """Why lines are being lost."""
        self._lost = 0
        """How many, since that began."""

    def write(
        self,
        event: str,
        record: Record,
        *,
        client: str,
        listener: str,
        pool: str,
        tls: str,
        now: float,
        port: int = 0,
    ) -> None:
        """Note one event (``request``, ``open``, ``close``, ``handshake``) about ``record``."""
        if len(self._lines) + self._leaving > MAX_BUFFERED:
            self._lose(1, SLOW)
            return
        if now != self._told:  # requests of one turn share it
            self._told, self._time = now, self._clock(time.time())
        if self._kind == "json":
            line = json_line(
                event, record, moment=self._time, client=client, listener=listener, pool=pool, tls=tls, now=now
            )
        else:
            line = other_line(
                self._kind, event, record, client=client, port=port, listener=listener, pool=pool, tls=tls, now=now
            )
        if line:
            self._keep(line)

    def _clock(self, stamp: float) -> str:
        """RFC 3339 in UTC with milliseconds."""
        second = int(stamp)
        if second != self._second:
            self._second, self._second_text = second, _second(second)
        return f"{self._second_text}.{str(int((stamp - second) * 1000.0) + 1000)[1:]}Z"

    def _keep(self, line: str) -> None:
        """Keep a line until it is written."""
        before, after = self._syslog
        if before:
            line = before + self._time + after + line
        # One buffer: thousands of strings that wait would push everything else out of the processor's cache.
        self._lines += line.encode()
        self._count += 1
        if self._count == 1:
            self._wake.set()

    def reopen(self) -> None:
        """Open the file anew: it may have been renamed. Lines that wait go to the new one."""
        self._anew = True
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled, then write the rest, waiting a second at most."""
        try:
            while True:
                await self._wake.wait()
                await trio.sleep(FLUSH_INTERVAL)
                await self._write_out()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE_TIMEOUT):
                await self._write_out()
            self._file.close()

    async def _write_out(self) -> None:
        lines, self._lines = self._lines, bytearray()
        count, self._count = self._count, 0
        self._wake = trio.Event()
        self._leaving = len(lines)
        anew, self._anew = self._anew, False
        lost, reason = count, "it takes nothing any more"
        try:
            if lines or anew:
                write = partial(self._file.write, lines, anew=anew)
                lost, reason = await trio.to_thread.run_sync(write, abandon_on_cancel=True)
        except (RuntimeError, MemoryError) as error:  # no room for a thread
            reason = str(error)
            self._anew = anew
        finally:
            self._leaving = 0
            if lines and lost:
                self._lose(lost, reason)
            elif lines and self._problem:
                logger.warning("access log %s is written again; %d lines were lost", self.target, self._lost)
                self._problem, self._lost = "", 0

    def _lose(self, lines: int, reason: str) -> None:
        self.dropped["disk_full" if reason == DISK_FULL else "slow" if reason == SLOW else "failed"] += lines
        self._lost += lines
        if reason != self._problem:
            self._problem = reason
            logger.error("access log %s: %s; lines are lost, and counted, until it can be written", self.target, reason)


def _host_name() -> str:
    """Return this machine's name as syslog wants it: visible ASCII, or a hyphen."""
    name = socket.gethostname()
    return name if name and name.isascii() and name.isprintable() and " " not in name else "-"


def _second(second: int) -> str:
    """RFC 3339 in UTC without a fraction."""
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
