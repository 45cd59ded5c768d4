"""A fast path for the most common form of response heads, read in one pass.

Facts. nginx, Node, Go and uvicorn mostly send a final response with a Content-Length, optionally followed by
``Connection: keep-alive`` and Keep-Alive. Such a head is accepted as a whole, and goes on as it came but for the lines
of Connection: a third of the instructions of reading the fields and writing a new head. Other responses are left to
``parse_response``; both say the same (``tests/http/test_fast_response.py``).

There are two forms, which accept the same heads and give the same result. Compiled, a loop over the bytes takes a sixth
of the instructions of the regular expression; interpreted it takes five times as long.

Lines to forward are those that begin with no special name, so there is only one way to match, backtracking never helps,
and the time is linear in the input. (Python 3.11.2 mishandles possessive repetitions of a group with a look-ahead, so
the repetitions of groups here are plain.)
"""

import re
from typing import Final

from balancer.http import grammar
from balancer.http.head import Response
from balancer.http.scan import line_end, number, spells, table, token_end
from balancer.shared.compiled import COMPILED, i64

_FORWARDED: Final = rb"(?:" + grammar.NO_RESPONSE_SPECIAL + grammar.TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*"
_RESPONSE: Final = re.compile(
    rb"HTTP/1\.1 ((?!204|304)[2-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*+)\r\n"
    + _FORWARDED
    + rb"(?i:Content-Length): (0|[1-9][0-9]{0,17}+)\r\n"
    + _FORWARDED
    + rb"(?:((?i:Connection: keep-alive)\r\n(?:(?i:Keep-Alive):[\t\x20-\x7e\x80-\xff]*+\r\n)?+)"
    + _FORWARDED
    + rb")?\r\n"
)
_LONGEST: Final = 31
"""No special name is longer."""
_MAY_BE_SPECIAL: Final = table(
    letter << 5 | len(name) for name in grammar.RESPONSE_NAMES for letter in name[:1].lower() + name[:1].upper()
)
"""By first letter and length of a name, whether it may be special: only such a name is worth a look."""


def read_fast_response(data: bytes, method: bytes) -> Response | None:
    """Return the response to a request of ``method`` that ``data`` begins with, or None if its form is another."""
    return by_bytes(data, method) if COMPILED else by_expression(data, method)


def by_expression(data: bytes, method: bytes) -> Response | None:
    """Read as ``read_fast_response``: the form for the interpreter."""
    head = _RESPONSE.match(data)
    if head is None:
        return None
    status, reason, length, connection = head.groups(b"")
    response = Response(int(status), 1, reason)
    _fill(response, data, head.end(2) + 2, head.end())
    if connection:
        _cut(response, head.start(4), head.end(4))
    response.body = 0 if method == b"HEAD" else int(length)
    return response


def by_bytes(data: bytes, method: bytes) -> Response | None:
    """Read as ``read_fast_response``: the form for the compiler."""
    size: i64 = len(data)
    if size < 17 or not data.startswith(b"HTTP/1.1 ") or data[9] < 50 or data[9] > 53 or data[12] != 32:
        return None
    status: i64 = number(data, 9, 12)
    if status < 0 or status == 204 or status == 304:
        return None
    at: i64 = line_end(data, 13, size)
    if at < 0:
        return None
    fields: i64 = at
    length: i64 = -1
    cut: i64 = 0
    cut_end: i64 = 0
    keep_alive = False
    special = _MAY_BE_SPECIAL
    while at + 1 < size and data[at] != 13:
        begin: i64 = at
        at = token_end(data, at, size)
        if at in (begin, size) or data[at] != 58:
            return None
        name_end: i64 = at
        at = line_end(data, at + 1, size)
        if at < 0:
            return None
        letter: i64 = data[begin]
        if letter | 32 == 98 and data[begin : begin + 9].lower().replace(b"_", b"-") == grammar.TIER_PREFIX:
            return None
        if name_end - begin > _LONGEST or not special[letter << 5 | (name_end - begin)]:
            continue
        if spells(data, begin, name_end, b"content-length") and length < 0 and data[name_end + 1] == 32:
            length = number(data, name_end + 2, at - 2)
            if length < 0:
                return None
        elif spells(data, begin, at - 2, b"connection: keep-alive") and length >= 0 and not cut:
            cut, cut_end = begin, at
        elif spells(data, begin, name_end, b"keep-alive") and cut and begin == cut_end and not keep_alive:
            cut_end, keep_alive = at, True
        elif data[begin:name_end].lower().replace(b"_", b"-") in grammar.RESPONSE_NAMES:
            return None
    if length < 0 or at + 1 >= size or data[at + 1] != 10:
        return None
    response = Response(status, 1, data[13 : fields - 2])
    _fill(response, data, fields, at + 2)
    if cut:
        _cut(response, cut, cut_end)
    response.body = 0 if method == b"HEAD" else length
    return response


def _fill(response: Response, data: bytes, fields: i64, end: i64) -> None:
    """Set what a response says of the bytes it came with: where its fields begin, and where its head ends."""
    response.end = end
    response.whole = data
    response.fields = data[fields : end - 2]


def _cut(response: Response, start: i64, end: i64) -> None:
    """Leave out the lines from ``start`` to ``end``."""
    whole = response.whole
    before = response.end - len(response.fields) - 2
    response.fields = whole[before:start] + whole[end : response.end - 2]
    response.whole = whole[:start] + whole[end:]
