"""Lines typed on a terminal, read without holding up anything else."""

import os
from collections.abc import AsyncIterator

import trio


async def typed_lines(descriptor: int) -> AsyncIterator[str]:
    """Each line of a terminal, without its end, until end of file (Ctrl-D).

    The descriptor stays in blocking mode: that mode belongs to the terminal, which the shell shares with us.
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
