"""The grammar of HTTP/1.1 heads as regular expressions, and the field names a proxy must not pass on unread.

Facts. Every repetition is possessive and every alternative begins with a byte no other can begin with, so matching
is linear in the input whatever the input is. Stricter than RFC 9112 where it leaves a choice: lines end with CRLF
only (2.2), folded lines are not fields (5.2), and control characters are nowhere.
"""

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""A method, or the name of a field."""

_FIELD_LINES = rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+"

REQUEST = re.compile(rb"(" + TOKEN + rb") ([!-\"$-~]++) HTTP/1\.([01])\r\n" + _FIELD_LINES + rb"\r\n")
"""A whole request head: method, target, minor version. The target has no ``#`` and no byte outside visible ASCII."""

RESPONSE = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*+))?+\r\n" + _FIELD_LINES + rb"\r\n"
)
"""A whole response head: minor version, status, reason. Many servers leave out the space before an empty reason."""

FIELDS = re.compile(_FIELD_LINES)
"""Any number of field lines, each with its CRLF."""

HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5}+)?+")
"""RFC 3986, 3.2.2 and 3.2.3, without user information and never empty."""

NOT_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n")
"""A control character, or a CR or LF outside a pair. A CR that ends the input may become one of a pair."""

_HOP_BY_HOP = [
    # RFC 9110, 7.6.1; Upgrade is read, the others are only removed.
    *("connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade"),
    "http2-settings",  # RFC 7540, 3.2.1: part of an upgrade to h2c, which is never forwarded
]
_CLAIMS = ["forwarded", "x-forwarded-TOKEN", "x-real-ip", "x-request-id", "x-balancer-trace"]


def _special(names: list[str]) -> bytes:
    """One of ``names``, in any case, a hyphen written as underscore included."""
    initials = "".join(sorted({name[0] + name[0].upper() for name in names}))
    spellings = "|".join(names).replace("-", "[-_]").encode().replace(b"TOKEN", TOKEN)
    return rb"(?=[%b])(?i:%b)" % (initials.encode(), spellings)


# Underscores: servers that turn fields into CGI variables cannot tell X_Forwarded_For from X-Forwarded-For.
REQUEST_SPECIAL = re.compile(
    rb"\n(" + _special([*_HOP_BY_HOP, "host", "content-length", "expect", *_CLAIMS]) + rb"):([^\r]*+)\r"
)
"""From line feed to carriage return: name, value with its white space, of each field a request does not just pass."""

_RESPONSE_SPECIAL = _special([*_HOP_BY_HOP, "content-length"])
RESPONSE_SPECIAL = re.compile(rb"\n(" + _RESPONSE_SPECIAL + rb"):([^\r]*+)\r")
"""The same for responses."""

NO_RESPONSE_SPECIAL = rb"(?!" + _RESPONSE_SPECIAL + rb":)"
"""Nothing, in front of a field that a response just passes."""
