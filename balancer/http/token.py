"""Extract the user's token from a request.

A token is a credential: no message here quotes one, and logs show only ``without_query`` of a target.

The bytes hashed are those that haproxy hashes (verified with 2.6.12), unless they are decoded: ``balance url_param``
takes the first piece of the query that begins with ``NAME=``; ``balance hdr`` the first element of the first field
line, ignoring commas inside double quotes; ``balance uri`` the target up to the query, cut first to ``len`` bytes and
then to ``depth`` path segments; its sample ``req.cook`` takes the last cookie of the name.

Decoding makes equal spellings (RFC 3986, 6.2.2) one token: ``%7E``, ``%7e`` and ``~``. A plus sign stays one, and so
does a percent sign that begins no escape. A path is decoded after it was cut, so ``%2F`` separates no segments.
"""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote_to_bytes

from balancer.config.settings import PlaceSettings, TokenSettings
from balancer.errors import ProxyError, Source
from balancer.http import query
from balancer.http.head import Request
from balancer.http.rules import host_name

_ELEMENT: Final = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))*+')
"""One element of a comma-separated list, may be empty; a comma between double quotes belongs to the element."""
_PAGE: Final = re.compile(rb"(?i:https?)://([^/?#@\\]++)(?:/[^?#]*+)?(\?[^#]*+)(?:#.*)?")
"""Host and query, with its question mark, of the address of a page."""
_ICONS: Final = (b"/favicon.ico", b"/robots.txt")
"""Paths that browsers and crawlers ask for by themselves."""


class Place:
    """A place in a request where its token may be, as its settings say; names are written as they are looked for.

    The compiler reads attributes of its own classes directly: the same from the settings took 1,200 instructions of a
    GET.
    """

    __slots__ = (
        "cookie",
        "decode",
        "depth",
        "duplicates",
        "header",
        "leading_bytes",
        "max_length",
        "param",
        "prefix",
        "source",
    )

    def __init__(self, settings: PlaceSettings) -> None:
        self.source: str = settings.source
        self.param = settings.param
        self.header = (settings.header or "").lower().encode()
        self.prefix = settings.prefix.lower().encode()
        self.cookie = (settings.cookie or "").encode()
        self.depth = settings.depth
        self.leading_bytes = settings.leading_bytes
        self.duplicates: str = settings.duplicates
        self.decode = settings.decode
        self.max_length = settings.max_length


class TokenRule:
    """Where the token of a pool's requests is, as its settings say, and what happens without one."""

    __slots__ = ("burst", "fallback", "missing", "place", "rate", "remember")

    def __init__(self, settings: TokenSettings) -> None:
        self.place = Place(settings)
        self.fallback = [Place(each) for each in settings.fallback]
        self.remember = settings.remember != "off"
        self.missing: str = settings.missing
        self.rate = settings.rate
        self.burst = settings.burst


def extract(request: Request, place: Place) -> bytes | None:
    """Return the token of ``request`` at ``place``, or None if it is absent or empty, or if there are none there.

    Raises ``ProxyError`` with status 400 for a value that is too long, and for different values if the place rejects
    them. An empty value counts as different from others: it is unknown which of them the backend would use.
    """
    match place.source:
        case "query":
            values = query.values(request.target, place.param)
        case "header":
            values = _fields(request, place)
        case "cookie":
            values = _cookies(request, place.cookie)
        case "referer":
            values = _referred(request, place.param)
        case "path" | "uri":
            return _cut(request.target, place)
        case "client_ip" | "none":
            return None
    if not values:
        return None
    token = _checked(values[-1 if place.duplicates == "last" else 0], place)
    if len(values) > 1 and place.duplicates == "refuse" and any(_normal(other, place) != token for other in values):
        raise _refused("the token is given more than once, with different values")
    return token or None


_NOT_IN_URL: Final = re.compile(rb"[^!-\"$-~]")
"""Bytes that no request target has, see ``http.grammar``."""


def from_operator(text: bytes, rule: TokenSettings) -> bytes | None:
    """Return the token for a value, target or address that an operator gives; None if it is empty.

    Raises ``ProxyError`` with status 400 for text that no request could have as its token.
    """
    match rule.source:
        case "path" | "uri":
            return _cut(text, Place(rule))
        case "client_ip":
            try:
                return str(ip_address(text.decode())).encode()
            except ValueError:
                raise _refused("expected an IP address: this pool places clients by address") from None
        case "query" if b"&" in text and all(place.source in ("query", "referer") for place in rule.fallback):
            raise _refused("a token in a query cannot contain &")
        case "query" if _NOT_IN_URL.search(text) and all(
            place.source in ("query", "referer") for place in rule.fallback
        ):
            raise _refused("no URL can carry this token: write it as in the URL, with spaces and the like as %20")
        case _:
            return _checked(text, Place(rule)) or None


def is_preflight(request: Request) -> bool:
    """Return whether a browser asks if a page of another site may send a request; it never adds credentials (Fetch)."""
    return (
        request.method == b"OPTIONS"
        and bool(request.field(b"origin"))
        and bool(request.field(b"access-control-request-method"))
    )


def is_icon(request: Request) -> bool:
    """Return whether a browser or crawler asks for this by itself, without being told to by a page of the user."""
    return request.target.partition(b"?")[0] in _ICONS


def without_query(target: bytes) -> str:
    """Return the path of a target as printable ASCII."""
    path = target.partition(b"?")[0].decode("latin-1")
    return path if path.isascii() and path.isprintable() else path.encode("unicode_escape").decode()


def _fields(request: Request, place: Place) -> list[bytes]:
    values = request.field(place.header)
    match place.duplicates:
        case "first":
            values = [_ELEMENT.findall(value)[0].rstrip(b" \t") for value in values[:1]]
        case "last":
            values = [
                element for value in values for each in _ELEMENT.findall(value) if (element := each.strip(b" \t"))
            ]
    return _after(place.prefix, values) if place.prefix else values


def _after(prefix: bytes, values: list[bytes]) -> list[bytes]:
    """What follows ``prefix``; the name of an authentication scheme is in any case, and any number of spaces follows.

    (RFC 9110, 11.1 and 11.4)
    """
    return [value[len(prefix) :].lstrip(b" ") for value in values if value[: len(prefix)].lower() == prefix]


def _cookies(request: Request, name: bytes) -> list[bytes]:
    """Values of the cookies called ``name`` (RFC 6265, 4.2.1), including quotes."""
    pairs = (pair.partition(b"=") for line in request.field(b"cookie") for pair in line.split(b";"))
    return [value.strip(b" \t") for found, equals, value in pairs if equals and found.strip(b" \t") == name]


def _referred(request: Request, name: str) -> list[bytes]:
    """Values of the parameter ``name`` of the page that sent the request, if it is of the same host.

    Other sites choose the addresses of their pages, and so could choose a user.
    """
    pages = [page for line in request.field(b"referer") if (page := _PAGE.fullmatch(line))]
    host = host_name(request.host)
    return [value for page in pages if host_name(page[1]) == host for value in query.values(page[2], name)]


def _cut(target: bytes, rule: Place) -> bytes | None:
    """The part of a target that is hashed."""
    if rule.leading_bytes:
        target = target[: rule.leading_bytes]
    if rule.source == "path":
        target = target.partition(b"?")[0]
    if rule.depth:
        target = b"/".join(target.split(b"/", rule.depth + 1)[: rule.depth + 1])
    return _normal(target, rule) or None


def _checked(value: bytes, place: Place) -> bytes:
    if len(value) > place.max_length:
        raise _refused("the token is too long")
    return _normal(value, place)


def _normal(value: bytes, place: Place) -> bytes:
    """The one spelling of a value."""
    if not place.decode:
        return value
    if 0x25 in value:  # a percent sign; asking for a piece of one byte takes ten times as long
        value = unquote_to_bytes(value)
    if place.source == "header" and place.header == b"host":
        value = host_name(value).encode("latin-1")
    return value


def _refused(reason: str) -> ProxyError:
    return ProxyError(Source.CLIENT, 400, reason)
