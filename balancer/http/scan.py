"""Loops over the bytes of heads, for the compiled build: what the readers of lines, heads and queries share.

Facts. With an index of 64 bits, mypyc turns ``data[at]`` into two comparisons and a load, and such a loop into some ten
instructions per byte. The regular expressions of ``http.grammar`` need two to six times as many; interpreted it is the
other way round. So each reader has two forms, and a test that holds both to the same result.
"""

import re
from collections.abc import Iterable
from typing import Final

from balancer.http import grammar
from balancer.shared.compiled import i64

TABLE_SIZE: Final = 4096
_IN_TOKEN: Final = bytes(re.fullmatch(grammar.TOKEN, bytes([byte])) is not None for byte in range(256))
_IN_TEXT: Final = bytes(byte == 0x09 or (byte >= 0x20 and byte != 0x7F) for byte in range(256))


def table(members: Iterable[int]) -> bytes:
    """Return a table that says at each index below ``TABLE_SIZE`` whether it is one of ``members``."""
    found = set(members)
    return bytes(index in found for index in range(TABLE_SIZE))


def token_end(data: bytes, at: i64, size: i64) -> i64:
    """Return the index of the first byte from ``at`` on that is not of a token (a method, the name of a field)."""
    allowed = _IN_TOKEN
    while at < size and allowed[data[at]]:
        at += 1
    return at


def line_end(data: bytes, at: i64, size: i64) -> i64:
    """Return the index after the CRLF that ends the text at ``at``; -1 if anything but text comes before it."""
    allowed = _IN_TEXT
    while at < size and allowed[data[at]]:
        at += 1
    return at + 2 if at + 1 < size and data[at] == 13 and data[at + 1] == 10 else -1


def spells(data: bytes, at: i64, end: i64, text: bytes) -> bool:
    """Return whether the bytes from ``at`` to ``end`` are ``text``, which is in lower case, in any case."""
    if end - at != len(text):
        return False
    index: i64 = 0
    while at < end:
        byte: i64 = data[at]
        if 65 <= byte <= 90:
            byte += 32
        if byte != text[index]:
            return False
        at += 1
        index += 1
    return True


def number(data: bytes, at: i64, end: i64) -> i64:
    """Return the number from ``at`` to ``end``, of at most 18 digits; -1 if it is not in its shortest form."""
    if not 1 <= end - at <= 18 or (data[at] == 48 and end - at > 1):
        return -1
    found: i64 = 0
    while at < end:
        digit: i64 = data[at]
        if digit < 48 or digit > 57:
            return -1
        found = found * 10 + digit - 48
        at += 1
    return found
