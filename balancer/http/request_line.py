"""Read request lines that do not decide how the fields below them are read, in one of two forms (``http.scan``)."""

import re
from typing import Final

from balancer.http import grammar
from balancer.http.scan import token_end
from balancer.shared.compiled import COMPILED, i64

_LINE: Final = re.compile(rb"(?!CONNECT )(" + grammar.TOKEN + rb") (/[!-\"$-~]*+) HTTP/1\.")


def read_line(data: bytes, end: i64) -> tuple[bytes, bytes] | None:
    """Return method and target if the bytes before ``end`` are a request line up to its minor version.

    None if it is for CONNECT, or its target is not a path.
    """
    return by_bytes(data, end) if COMPILED else by_expression(data, end)


def by_expression(data: bytes, end: i64) -> tuple[bytes, bytes] | None:
    """Read as ``read_line``: the form for the interpreter."""
    line = _LINE.fullmatch(data, 0, end)
    return line and (line[1], line[2])


def by_bytes(data: bytes, end: i64) -> tuple[bytes, bytes] | None:
    """Read as ``read_line``: the form for the compiler."""
    last: i64 = end - 8
    space: i64 = token_end(data, 0, end)
    at: i64 = space + 1
    if space == 0 or at >= last or data[space] != 32 or data[at] != 47 or data[last] != 32:
        return None
    if data[last + 1 : end] != b"HTTP/1.":
        return None
    while at < last:
        byte: i64 = data[at]
        if byte < 33 or byte > 126 or byte == 35:
            return None
        at += 1
    method = data[:space]
    return None if method == b"CONNECT" else (method, data[space + 1 : last])
