"""The grammar of HTTP/1.1 heads as regular expressions, and the fields that a proxy must interpret.

Facts. Every repetition is possessive and no two alternatives begin with the same byte, so matching takes linear time
for any input. Where RFC 9112 leaves a choice, this is the strict one: lines end with CRLF only (2.2), folded lines are
not fields (5.2), and control characters are not allowed anywhere.
"""

import re
from typing import Final

from balancer.config.field_text import HOP_BY_HOP

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""A method, or the name of a field."""

_FIELD_LINES = rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+"

REQUEST = re.compile(rb"(" + TOKEN + rb") ([!-\"$-~]++) HTTP/1\.([0-9])\r\n" + _FIELD_LINES + rb"\r\n")
"""A whole request head: method, target, minor version. The target has no ``#`` and no byte outside visible ASCII."""

RESPONSE = re.compile(
    rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?+\r\n" + _FIELD_LINES + rb"\r\n"
)
"""A whole response head: minor version, status, reason. Many servers omit the space before an empty reason."""

FIELDS = re.compile(_FIELD_LINES)
"""Any number of field lines, each with its CRLF."""

CODED_AND_CHUNKED = re.compile(rb"(?:(?!chunked\b)" + TOKEN + rb"[\t ]*+,[\t ,]*+)+chunked")
"""A Transfer-Encoding, in lower case, of other codings under a final chunked (RFC 9112, 6.3)."""

HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5}+)?+")
"""Host and optional port (RFC 3986, 3.2.2 and 3.2.3): no user information, not empty."""

NOT_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
"""A control character, or a bare CR or LF. A CR at the end of the input may still be followed by LF."""

_CLAIMS = ["forwarded", "x-forwarded-TOKEN", "x-real-ip", "x-request-id", "x-balancer-trace", "balancer-TOKEN"]


def _special(names: list[str]) -> bytes:
    """Matches one of ``names``, case-insensitive, also with underscores in place of hyphens."""
    initials = "".join(sorted({name[0] + name[0].upper() for name in names}))
    spellings = "|".join(names).replace("-", "[-_]").encode().replace(b"TOKEN", TOKEN)
    return rb"(?=[%b])(?i:%b)" % (initials.encode(), spellings)


# Servers that turn fields into CGI variables cannot tell X_Forwarded_For from X-Forwarded-For.
REQUEST_SPECIAL = re.compile(
    rb"\n(" + _special([*HOP_BY_HOP, "host", "content-length", "expect", *_CLAIMS]) + rb"):([^\r]*+)\r"
)
"""A field that is not simply forwarded, from line feed to carriage return: name, and value with its white space."""

RESPONSE_NAMES: Final = frozenset(name.encode() for name in (*HOP_BY_HOP, "content-length"))
"""Fields of a response that are not simply forwarded, in lower case; so are those that begin with ``TIER_PREFIX``."""
TIER_PREFIX: Final = b"balancer-"
"""How the names of fields between tiers of balancers begin, which hosts and clients have no use for."""

_RESPONSE_SPECIAL = _special([*HOP_BY_HOP, "content-length", "balancer-TOKEN"])
RESPONSE_SPECIAL = re.compile(rb"\n(" + _RESPONSE_SPECIAL + rb"):([^\r]*+)\r")
"""The same for responses."""

NO_RESPONSE_SPECIAL = rb"(?!" + _RESPONSE_SPECIAL + rb":)"
"""Matches the empty string before a field of a response that is simply forwarded."""
