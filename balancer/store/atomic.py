"""Replace files as a whole, so that whatever happens there is either the old or the new one."""

import logging
import os
import time
from pathlib import Path

from balancer.errors import disk_reason

logger = logging.getLogger("balancer.state")


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` beside, flush it to the disk, rename it, and flush the directory. Raises ``OSError``."""
    beside = path.with_name(path.name + ".new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def set_aside(path: Path, problem: str, kind: str = "damaged") -> None:
    """Rename a file that cannot be used, and log the problem; nothing is deleted."""
    aside = path.with_name(f"{path.name}.{kind}-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        path.rename(aside)
    except OSError as error:
        logger.error("%s %s; it cannot be renamed: %s", path, problem, disk_reason(error))
    else:
        logger.error("%s %s; it is kept as %s", path, problem, aside)
