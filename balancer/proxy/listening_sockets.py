"""Listening sockets that a worker has received from the supervisor."""

import logging
import os
import socket
from collections.abc import Collection, Sequence

import trio

logger = logging.getLogger("balancer.worker")


SOCKETS_TIME = 5.0
"""Seconds the sockets of a new listener may take to come from the supervisor."""


class ListeningSockets:
    """Listening sockets that have come from the supervisor, by key, until their listener takes them.

    What control says of listeners comes by another way, and may be older or newer than the sockets that are here; so
    each says which version of them it means. A version that is over by the time somebody asks for its sockets has none:
    what is here under the same key may be another socket, for whatever control says next.
    """

    def __init__(self) -> None:
        self._version = 0
        self._waiting: dict[str, list[socket.socket]] = {}
        self._taken: set[str] = set()
        self._arrived = trio.Event()

    def bring(self, version: int, everything: Collection[str], keys: Sequence[str], fds: Sequence[int]) -> None:
        """Some come, the ones we have already among them; in this version there are none but ``everything``."""
        self._version = version
        self._taken.intersection_update(everything)
        for key in self._waiting.keys() - everything:
            for sock in self._waiting.pop(key):
                sock.close()
        fresh = {key for key in keys if key not in self._taken and key not in self._waiting}
        for key, fd in zip(keys, fds, strict=True):
            if key in fresh:
                self._waiting.setdefault(key, []).append(socket.socket(fileno=fd))
            else:
                os.close(fd)
        self._arrived.set()
        self._arrived = trio.Event()

    async def take(self, key: str, version: int) -> list[socket.socket]:
        """The sockets of a key, once they are here; none if the version is over, or after ``SOCKETS_TIME``."""
        with trio.move_on_after(SOCKETS_TIME):
            while self._version < version or (self._version == version and key not in self._waiting):
                await self._arrived.wait()
            if self._version == version:
                self._taken.add(key)
                return self._waiting.pop(key)
            return []
        logger.error("the sockets of %s have not come", key)
        return []
