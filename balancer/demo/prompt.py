"""Lines typed on a terminal, read without blocking other tasks."""

import os
from collections.abc import AsyncIterator

import trio


async def typed_lines(descriptor: int) -> AsyncIterator[str]:
    """Yield the lines typed, without line ends, until end of file (Ctrl-D).

    The descriptor stays in blocking mode: the mode belongs to the open file, which is shared with the shell.
    """
    rest = b""
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        try:
            data = os.read(descriptor, 4096)
        except OSError:  # the terminal is gone
            return
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
