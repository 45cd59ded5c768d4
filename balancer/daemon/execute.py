"""Become another version: execve(2) in the same process, so that pid, children and descriptors stay.

What runs first in the other interpreter is not its own code but ``shim.py`` of this version, from a memfd. It imports
the other version, and whatever goes wrong until that has adopted the children, it executes this version again.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from balancer.upgrade.release import Release
from balancer.upgrade.state import Handover, dump, seal

_SHIM = Path(__file__).with_name("shim.py").read_bytes()
"""As it was when this process started, whatever is on the disk by now."""


def execute(release: Release, state: Handover) -> None:
    """Execute a release. Raise ``OSError`` if that is impossible; then nothing has changed."""
    opened: list[int] = []
    fds = list(_descriptors(state))
    try:
        opened += [seal(_SHIM), seal(dump(state))]
        for fd in (*fds, *opened):
            os.set_inheritable(fd, True)
        shim, handed = opened
        words = release.command(f"/proc/self/fd/{shim}", str(handed), state.config)
        os.execve(release.python, words, os.environ)
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)
        for fd in opened:
            os.close(fd)


def _descriptors(state: Handover) -> Iterator[int]:
    """Yield what the next version needs."""
    yield from state.memory
    yield from (board.fd for board in state.boards)
    yield from state.sockets.handed
    yield from {fd for each in state.sockets.open.values() for fds in each for fd in fds}
    yield from (fd for _, fd in state.doors)
    for child in (state.control, *(worker.child for worker in state.workers)):
        if child.channel is not None:
            yield child.channel
