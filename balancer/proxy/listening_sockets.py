"""Listening sockets that a worker has received from the supervisor, by key, until their listener takes them.

What control says about listeners comes by another way, and may be older or newer than the sockets that are here; so
each names the version of the sockets that it means. Descriptors that the kernel could not install, because the process
has too many, are missing from the message (MSG_CTRUNC, recv(2)): they are asked for again.
"""

import logging
import os
import socket
from collections.abc import Collection, Iterable, Sequence

import trio

logger = logging.getLogger("balancer.worker")

SOCKETS_TIMEOUT = 5.0
"""Seconds the sockets of a new listener may take to come from the supervisor."""


Sockets = dict[str, list[socket.socket]]
"""By key."""


class SocketsMissing(Exception):
    """The sockets that a configuration needs are not here."""


class ListeningSockets:
    """Sockets by key; ``bring`` stores what the supervisor sends, ``take`` hands it to a listener."""

    def __init__(self) -> None:
        self._version = 0
        self._waiting: Sockets = {}
        self._taken: set[str] = set()
        self._arrived = trio.Event()

    def bring(self, version: int, everything: Collection[str], keys: Sequence[str], fds: Sequence[int]) -> bool:
        """Store the sockets of a message; return whether all of them have come.

        Those that are here already are closed. In this version there are no other keys than ``everything``.
        """
        self._version = version
        self._taken.intersection_update(everything)
        for key in self._waiting.keys() - everything:
            for sock in self._waiting.pop(key):
                sock.close()
        missing = set(keys[len(fds) :])
        fresh = {key for key in keys if key not in self._taken and key not in self._waiting} - missing
        for key, fd in zip(keys, fds, strict=False):
            if key in fresh:
                self._waiting.setdefault(key, []).append(socket.socket(fileno=fd))
            else:
                os.close(fd)
        self._arrived.set()
        self._arrived = trio.Event()
        return not (missing - self._taken - self._waiting.keys())

    async def take(self, keys: Iterable[str], version: int) -> Sockets:
        """Return the sockets of all these keys, once they are here.

        Raise ``SocketsMissing`` if the version has been replaced by another, or after ``SOCKETS_TIMEOUT``; then they
        stay here.
        """
        wanted = list(keys)
        if not wanted:
            return {}
        with trio.move_on_after(SOCKETS_TIMEOUT):
            while self._version < version or (self._version == version and not self._waiting.keys() >= set(wanted)):
                await self._arrived.wait()
        if self._version > version:
            raise SocketsMissing("the supervisor has other sockets by now")
        if missing := [key for key in wanted if key not in self._waiting]:
            raise SocketsMissing(f"no socket for {', '.join(missing)} came within {SOCKETS_TIMEOUT:g} s")
        self._taken.update(wanted)
        return {key: self._waiting.pop(key) for key in wanted}

    def give_back(self, sockets: Sockets) -> None:
        """Store sockets again that were taken and not used."""
        self._taken.difference_update(sockets)
        self._waiting.update(sockets)

    def close(self) -> None:
        """Close what has not been taken."""
        for sockets in self._waiting.values():
            for sock in sockets:
                sock.close()
        self._waiting.clear()
