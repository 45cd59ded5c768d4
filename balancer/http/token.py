"""Extract the user's token from a request.

A token is a credential: no message here quotes one, and logs show only ``without_query`` of a target.

The bytes hashed are those that haproxy hashes (verified with 2.6.12): ``balance url_param`` takes the first piece of
the query that begins with ``NAME=``; ``balance hdr`` the first element of the first field line, ignoring commas inside
double quotes; ``balance uri`` the target up to the query, cut first to ``len`` bytes and then to ``depth`` path
segments; its sample ``req.cook`` takes the last cookie of the name.
"""

import re
from functools import cache
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from balancer.config.settings import TokenSettings
from balancer.errors import ProxyError, Source
from balancer.http.head import Request

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ELEMENT = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))*+')
"""One element of a comma-separated list, may be empty; a comma between double quotes belongs to the element."""


def extract(request: Request, rule: TokenSettings) -> bytes | None:
    """Return the token of ``request``, or None if it is absent or empty, or if the rule takes no token from requests.

    Raises ``ProxyError`` with status 400 for a value that is too long, for invalid escapes if they are decoded, and for
    different values if the rule rejects them. An empty value counts as different from others: it is unknown which of
    them the backend would use.
    """
    match rule.source:
        case "query":
            values = _parameters(rule.param).findall(request.target.partition(b"?")[2])
        case "header":
            values = _fields(request, rule)
        case "cookie":
            values = _cookies(request, (rule.cookie or "").encode())
        case "path" | "uri":
            return _cut(request.target, rule)
        case "client_ip":
            return None
    if not values:
        return None
    token = _checked(values[-1 if rule.duplicates == "last" else 0], rule)
    if len(values) > 1 and rule.duplicates == "refuse":
        others = map(_decoded, values) if rule.decode else values
        if any(other != token for other in others):
            raise _refused("the token is given more than once, with different values")
    return token or None


def from_operator(text: bytes, rule: TokenSettings) -> bytes | None:
    """Return the token for a value, target or address that an operator gives; None if it is empty.

    Raises ``ProxyError`` with status 400 for text that no request could have as its token.
    """
    match rule.source:
        case "path" | "uri":
            return _cut(text, rule)
        case "client_ip":
            try:
                return str(ip_address(text.decode())).encode()
            except ValueError:
                raise _refused("expected an IP address: this pool places clients by address") from None
        case "query" if b"&" in text:
            raise _refused("a token in a query cannot contain &")
        case _:
            return _checked(text, rule) or None


def without_query(target: bytes) -> str:
    """Return the path of a target as printable ASCII."""
    path = target.partition(b"?")[0].decode("latin-1")
    return path if path.isascii() and path.isprintable() else path.encode("unicode_escape").decode()


@cache
def _parameters(name: str) -> re.Pattern[bytes]:
    """Matches the values of the parameter ``name`` in a query.

    Parameters are separated by ``&``; names are compared byte for byte, and a piece without ``=`` is not a parameter.
    """
    return re.compile(rb"(?:^|&)%b=([^&]*+)" % re.escape(name.encode()))


def _fields(request: Request, rule: TokenSettings) -> list[bytes]:
    values = request.field((rule.header or "").lower().encode())
    match rule.duplicates:
        case "refuse":
            return values
        case "first":
            return [_ELEMENT.findall(value)[0].rstrip(b" \t") for value in values[:1]]
        case "last":
            return [element for value in values for each in _ELEMENT.findall(value) if (element := each.strip(b" \t"))]


def _cookies(request: Request, name: bytes) -> list[bytes]:
    """Values of the cookies called ``name`` (RFC 6265, 4.2.1), including quotes."""
    pairs = (pair.partition(b"=") for line in request.field(b"cookie") for pair in line.split(b";"))
    return [value.strip(b" \t") for found, equals, value in pairs if equals and found.strip(b" \t") == name]


def _cut(target: bytes, rule: TokenSettings) -> bytes | None:
    """The part of a target that is hashed."""
    if rule.leading_bytes:
        target = target[: rule.leading_bytes]
    if rule.source == "path":
        target = target.partition(b"?")[0]
    if rule.depth:
        target = b"/".join(target.split(b"/", rule.depth + 1)[: rule.depth + 1])
    return target or None


def _checked(value: bytes, rule: TokenSettings) -> bytes:
    if len(value) > rule.max_length:
        raise _refused("the token is too long")
    return _decoded(value) if rule.decode else value


def _decoded(value: bytes) -> bytes:
    if _BAD_ESCAPE.search(value):
        raise _refused("the token has an invalid percent escape")
    return unquote_to_bytes(value)


def _refused(reason: str) -> ProxyError:
    return ProxyError(Source.CLIENT, 400, reason)
