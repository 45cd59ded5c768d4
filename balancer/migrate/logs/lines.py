"""Lines of log files, one after the other: whatever their size, compressed or not, in bounded memory."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader

LONGEST = 1 << 16
"""Bytes of a line; what is longer is no line of a log."""
_GZIP = b"\x1f\x8b"


def lines(file: BufferedReader) -> Iterator[bytes]:
    """Each line of a file without its end, one that is too long as an empty one.

    Raises ``OSError`` for a file that cannot be read, or is compressed and damaged.
    """
    if file.peek(2)[:2] != _GZIP:
        yield from _bounded(file)
        return
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            yield from _bounded(unpacked)
    except (EOFError, zlib.error) as error:
        raise OSError(f"it is damaged: {error}") from None


def _bounded(file: BufferedIOBase) -> Iterator[bytes]:
    while line := file.readline(LONGEST):
        if line.endswith(b"\n") or len(line) < LONGEST:
            yield line.rstrip(b"\r\n")
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST)
        yield b""
