"""The protocol between a service and systemd: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

All of it travels in environment variables, datagrams and inherited descriptors. The variables are removed as they are
read: they are meant for this process, not for its children. Without them nothing here does anything.
"""

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Literal

from balancer.config.scalars import shown

logger = logging.getLogger("balancer.systemd")

Phase = Literal["starting", "serving", "upgrading", "lame", "draining"]
"""What the daemon does."""

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""
INTERVAL = 10.0
"""Seconds between two notifications; less if the watchdog needs it."""
EXTEND_TIMEOUT = 60.0
"""Seconds by which each notification extends the stop timeout during a drain."""


def handed_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets of socket activation (``LISTEN_FDS``), closed on exec.

    Descriptors that are no sockets are closed with a warning.
    """
    pid, number, names = (environ.pop(f"LISTEN_{what}", "") for what in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()):  # they were meant for the process that started us
        return []
    name = dict(enumerate(names.split(":"), FIRST_DESCRIPTOR))
    sockets = []
    for fd in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + _number(number)):
        try:
            sockets.append(socket.socket(fileno=fd))
        except OSError as error:
            logger.warning("descriptor %d (%s) is of no use: %s", fd, shown(name.get(fd, "")), error.strerror)
            with suppress(OSError):
                os.close(fd)
        else:
            os.set_inheritable(fd, False)
    return sockets


class Manager:
    """The service manager, if it listens (``NOTIFY_SOCKET``)."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self.variables = {name: environ.pop(name) for name in VARIABLES if name in environ}
        """What the manager has said, for the next version."""
        path, usec, pid = (self.variables.get(name, "") for name in VARIABLES)
        self._watchdog = _number(usec) / 1e6 if pid in ("", str(os.getpid())) else 0.0
        self._socket = _connected(path) if path else None
        self.interval = min(self._watchdog / 2 or INTERVAL, INTERVAL)
        """Seconds between two notifications."""

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def tell(self, phase: Phase, status: str, *, alive: bool = False) -> None:
        """Say what the daemon does: let clients in, or drain, which may take as long as it goes on saying so.

        ``alive`` feeds the watchdog. All of it is said each time, so that nothing is lost when the manager is too busy
        to listen.
        """
        words = ["WATCHDOG=1"] if alive and self._watchdog else []
        if phase in ("lame", "draining"):
            words += ["STOPPING=1", f"EXTEND_TIMEOUT_USEC={EXTEND_TIMEOUT * 1e6:.0f}"]
        elif phase == "serving":
            words += ["READY=1"]
        self._say(*words, f"STATUS={phase}; {status}")

    def reloading(self) -> None:
        """A reload or an upgrade has begun; ``tell`` ends it.

        The time is for ``Type=notify-reload`` (systemd.service(5)).
        """
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def _say(self, *words: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send("\n".join(words).encode())
        except BlockingIOError:
            pass
        except OSError as error:
            logger.warning("the service manager does not listen any more: %s", error.strerror)
            self.close()


def _connected(path: str) -> socket.socket | None:
    """Return a socket connected to ``path`` (``@…`` is abstract, unix(7)); None, with a warning, if that fails."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
    except OSError as error:
        logger.warning("NOTIFY_SOCKET is of no use: %s: %s", shown(path), error.strerror or error)
        sock.close()
        return None
    return sock


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
