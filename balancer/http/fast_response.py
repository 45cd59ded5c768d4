"""A fast path for the most common form of response heads, parsed with a single regular expression.

Facts. nginx, Node, Go and uvicorn mostly send a final response with a Content-Length, optionally followed by
``Connection: keep-alive`` and Keep-Alive. One match accepts such a head, finds its end, and cuts out the three fields
that a proxy must interpret: 1.4 µs instead of 3.1, a saving of a twentieth of a small GET. Other responses are left to
``parse_response``; both give the same result (``tests/http/test_fast_response.py``).

Lines to forward are those that begin with no special name, so there is only one way to match, backtracking never helps,
and the time is linear in the input. (Python 3.11.2 mishandles possessive repetitions of a group with a look-ahead, so
the repetitions of groups here are plain.)
"""

import re
from typing import Final

from balancer.http import grammar
from balancer.http.head import Response

_FORWARDED: Final = rb"((?:" + grammar.NO_RESPONSE_SPECIAL + grammar.TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*)"
_RESPONSE: Final = re.compile(
    rb"HTTP/1\.1 ((?!204|304)[2-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*+)\r\n"
    + _FORWARDED
    + rb"(?i:Content-Length): (0|[1-9][0-9]{0,17}+)\r\n"
    + _FORWARDED
    + rb"(?:(?i:Connection: keep-alive)\r\n(?:(?i:Keep-Alive):[\t\x20-\x7e\x80-\xff]*+\r\n)?+"
    + _FORWARDED
    + rb")?\r\n"
)


def read_fast_response(data: bytes, method: bytes) -> tuple[Response, bytes] | None:
    """Return the response to a request of ``method`` and the bytes after its head, or None if the form is another."""
    head = _RESPONSE.match(data)
    if head is None:
        return None
    status, reason, before, length, between, after = head.groups(b"")
    response = Response(int(status), 1, reason)
    response.fields = before + between + after
    response.content_length = length
    response.body = 0 if method == b"HEAD" else int(length)
    return response, data[head.end() :]
