"""Lines of log files of any size, compressed or not, in bounded memory."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase, BufferedReader

LONGEST = 1 << 16
"""Bytes of the longest line; longer ones are ignored."""
_GZIP = b"\x1f\x8b"


def lines(file: BufferedReader) -> Iterator[bytes]:
    """Yield each line of a file without its end, and an empty line in place of one that is too long.

    Raise ``OSError`` if the file cannot be read, or is compressed and damaged.
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
