"""The user's token in a request, and targets without it.

A token is a credential: no message made here quotes one, and ``without_query`` is what a log may show of a target.

Where haproxy hashes the same thing it hashes the same bytes (seen on 2.6.12): ``balance url_param`` takes the first
piece of the query that begins with ``NAME=``; ``balance hdr`` the first element of the first field line, commas inside
double quotes aside; ``balance uri`` the target up to the query, cut to ``len`` bytes first and then before the slash
that ends ``depth`` folders; its sample ``req.cook`` takes the last cookie of the name.
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
"""One element of a list of values, maybe empty; a comma between double quotes belongs to it."""


def extract(request: Request, rule: TokenSettings) -> bytes | None:
    """The token of ``request``, or None if it is absent or empty, or if the rule takes no token from requests.

    Raises ``ProxyError`` with status 400 for a value that is too long, for bad escapes where they are decoded, and for
    different values where the rule refuses them. An empty value is different from any other: which of the two a backend
    would take, nobody knows.
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
    """What is hashed for the value, target or address that an operator names; None if it is empty.

    Raises ``ProxyError`` with status 400 for what no request could have.
    """
    match rule.source:
        case "path" | "uri":
            return _cut(text, rule)
        case "client_ip":
            try:
                return str(ip_address(text.decode())).encode()
            except ValueError:
                raise _refused("tokens are IP addresses here") from None
        case "query" if b"&" in text:
            raise _refused("a token in a query has no & in it")
        case _:
            return _checked(text, rule) or None


def without_query(target: bytes) -> str:
    """The path of a target, as printable ASCII."""
    path = target.partition(b"?")[0].decode("latin-1")
    return path if path.isascii() and path.isprintable() else path.encode("unicode_escape").decode()


@cache
def _parameters(name: str) -> re.Pattern[bytes]:
    """Finds the values of the parameter ``name`` in a query.

    The query begins after the first ``?`` and is split at ``&``; names are compared byte for byte, and a piece without
    ``=`` is no parameter.
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
    """Values of the cookies called ``name`` (RFC 6265, 4.2.1), with their quotes."""
    pairs = (pair.partition(b"=") for line in request.field(b"cookie") for pair in line.split(b";"))
    return [value.strip(b" \t") for found, equals, value in pairs if equals and found.strip(b" \t") == name]


def _cut(target: bytes, rule: TokenSettings) -> bytes | None:
    """So much of a target as counts."""
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
        raise _refused("the token has a bad percent escape")
    return unquote_to_bytes(value)


def _refused(reason: str) -> ProxyError:
    return ProxyError(Source.CLIENT, 400, reason)
