"""Read the answers to ACME challenges (RFC 8555, 8.3) from a folder, in separate threads because disks may hang.

Another program writes the folder, and names come from clients. So only plain names are looked up, links are not
followed, and only regular files of up to ``MAX_BYTES`` are read.
"""

import logging
import os
import re
import stat

import trio

from balancer.errors import ProxyError, Source
from balancer.net.engine import Engine, Task, TimedOut
from balancer.net.park import PARK

logger = logging.getLogger("balancer.worker")

MAX_BYTES = 65536
_NAME = re.compile(rb"[A-Za-z0-9_-]{1,255}")
_AT_ONCE = 4
_WAITING = 64
"""Reads that may be under way or wait for a thread; further ones are refused."""
_PATIENCE = 10.0
"""Seconds for the disk."""


def read_challenge(folder: str, name: bytes) -> bytes | None:
    """Return the content of the file with this name, or None if there is none to serve. May block."""
    if _NAME.fullmatch(name) is None:
        return None
    # O_NONBLOCK: the open of a pipe would wait for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(os.path.join(folder, name.decode()), flags)
    except OSError:
        return None
    try:
        data = os.read(fd, MAX_BYTES + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if data is not None and len(data) <= MAX_BYTES else None


class _Reading:
    """A read under way, and the task that waits for it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.done = False
        self.data: bytes | None = None


class Challenges:
    """Reads for the coroutines of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads: trio.CapacityLimiter | None = None
        self._waiting = 0

    async def read(self, task: Task, folder: str, name: bytes) -> bytes | None:
        """Return as ``read_challenge`` does. Raise ``ProxyError`` (503) if the disk takes too long."""
        if self._waiting >= _WAITING:
            raise ProxyError(Source.INTERNAL, 503, "too many challenges are being read")
        self._waiting += 1
        reading = _Reading(task)
        trio.lowlevel.spawn_system_task(self._read, reading, folder, name)
        task.expires = self._engine.now + _PATIENCE
        try:
            while not reading.done:
                await PARK
        except TimedOut:
            raise ProxyError(Source.INTERNAL, 503, "the folder of challenges takes too long") from None
        return reading.data

    async def _read(self, reading: _Reading, folder: str, name: bytes) -> None:
        if self._threads is None:
            self._threads = trio.CapacityLimiter(_AT_ONCE)
        try:
            reading.data = await trio.to_thread.run_sync(
                read_challenge, folder, name, abandon_on_cancel=True, limiter=self._threads
            )
        except Exception:  # such as no memory for a thread; raised here, it would end the worker
            logger.exception("a challenge could not be read")
        finally:
            self._waiting -= 1
            reading.done = True
        self._engine.wake(reading.task)
