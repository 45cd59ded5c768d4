"""Read the lines of a file from either end, a part at a time."""

import os
from collections.abc import Iterator

PART = 1 << 16
"""Bytes read at a time."""


def whole_size(fd: int) -> int:
    """Return the size of the file up to the end of its last whole line. Raises ``OSError``."""
    end = os.fstat(fd).st_size
    while end:
        begin = max(0, end - PART)
        newline = os.pread(fd, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def lines_from(fd: int, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines between two offsets at which lines begin, each with the offset behind it. Raises ``OSError``."""
    rest = b""
    at = begin
    while begin < end:
        part = os.pread(fd, min(PART, end - begin), begin)
        if not part:
            return
        begin += len(part)
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            at += len(line) + 1
            yield at, line


def lines_back(fd: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines before ``end``, the last first, each with the offset at which it begins. Raises ``OSError``."""
    rest = b""
    """The end of a line whose beginning has not been read."""
    begin = end
    while begin:
        size = min(PART, begin)
        begin -= size
        first, *lines = (os.pread(fd, size, begin) + rest).split(b"\n")
        rest = first + b"\n"
        behind = begin + len(first) + 1 + sum(len(line) + 1 for line in lines[:-1])
        for line in reversed(lines[:-1]):  # what is behind the last newline is nothing
            behind -= len(line) + 1
            yield behind, line
    if end:
        yield 0, rest[:-1]
