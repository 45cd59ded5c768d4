"""Ids for requests that bring none."""

import os
from typing import Final

from balancer.shared.compiled import mypyc_attr

_LAST: Final = tuple(b"%02x" % number for number in range(256))
"""Formatting the whole id for each request would take six times as long as appending one of these."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestIds:
    """A source of ids that no other process uses: 12 random bytes of this process, and 4 bytes that count."""

    def __init__(self) -> None:
        self._prefix = os.urandom(12).hex().encode()
        self._count = 0
        self._stem = self._prefix + b"000000"

    def next(self) -> bytes:
        """Return an id that was not returned before."""
        last = self._count & 0xFF
        if not last:
            self._stem = b"%b%06x" % (self._prefix, self._count >> 8 & 0xFFFFFF)
        self._count += 1
        return self._stem + _LAST[last]
