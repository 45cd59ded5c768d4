"""The cookies in which browsers keep the tokens of their users for us, on their way through requests and responses.

A page asks for most of its parts without the token. The answer to the request that brought it sets a cookie with the
token, sealed (``balancer.http.seal``), and requests without any token are placed by that cookie.

It is between the browser and us. Backends run what users write, and the browser sends it with every request to the
site, whatever pool or listener that is for. So no request reaches a backend with any of our cookies, and no response
passes that sets one: a backend can neither read nor choose who a user is.

Behind TLS the names begin with ``__Host-``, so no neighbour can plant such a cookie, and only those are believed there.
"""

import re
from collections.abc import Iterable

from balancer.config.cookie import SameSite, attributes, cookie_name
from balancer.http.head import Request, Response, without

_SET_COOKIE = re.compile(rb"(?im)^set-cookie:([^\r]*)\r\n")
_SHOWS_PAGE = re.compile(rb"(?im)^sec-fetch-dest:[ \t]*(?:document|iframe|frame|fencedframe|embed|object)[ \t]*\r$")
_FROM_BROWSER = re.compile(rb"(?im)^sec-fetch-dest:")
_CACHING = re.compile(rb"(?im)^(?:cache-control|surrogate-control|[a-z-]*cdn-cache-control):([^\r]*)\r\n")
_DIRECTIVE = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++')
_SHARED = (b"public", b"private", b"s-maxage")
"""Directives of Cache-Control that ``private`` replaces."""


class PrivateCookies:
    """Keeps the cookies called ``names``, with and without prefix, between browsers and us."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(cookie_name(name, secure=secure) for name in names for secure in (False, True))

    def take(self, request: Request) -> None:
        """Remove our cookies from a request, and keep their values in its ``taken``."""
        request.taken_by = self
        taken = request.taken
        lines = request.field(b"cookie")
        if not lines:
            return
        kept, found = [], False
        for line in lines:
            pairs = []
            for pair in line.split(b";"):
                name, equals, value = pair.partition(b"=")
                if (name := name.strip(b" \t")) in self._names:
                    found = True
                    if equals:
                        taken.setdefault(name, []).append(value.strip(b" \t"))
                else:
                    pairs.append(pair.strip(b" \t"))
            kept.append(b"; ".join(pairs))
        if found:
            fields = without(request.fields, {b"cookie"})
            request.fields = fields + b"".join([b"Cookie: %b\r\n" % line for line in kept if line])

    def clean(self, response: Response) -> None:
        """Remove what would set one of our cookies from a backend's response."""
        if b"set-cookie:" in response.fields.lower():  # a tenth of the time that the expression takes
            response.fields = _SET_COOKIE.sub(self._unless_ours, response.fields)

    def _unless_ours(self, line: re.Match[bytes]) -> bytes:
        # Browsers may store "=NAME=x" without a name and then send NAME=x: it counts as NAME.
        name = line[1].partition(b";")[0].lstrip(b" \t=").partition(b"=")[0].rstrip(b" \t")
        return b"" if name in self._names else line[0]


def opens_page(request: Request) -> bool:
    """Return whether a browser asks for a page, in a tab or a frame, or for an upgrade (Fetch Metadata, 2.1).

    Programs send no Sec-Fetch-Dest, nor do browsers without TLS to anything but this machine.
    """
    if b"sec-fetch-dest:" not in request.fields.lower():  # a tenth of the time that an expression takes
        return False
    wanted = _SHOWS_PAGE if request.upgrade is None else _FROM_BROWSER
    return wanted.search(request.fields) is not None


def set_cookie(cookie: bytes, value: bytes, same_site: SameSite, *, secure: bool) -> bytes:
    """Return the line that sets ``cookie``, or removes it if ``value`` is empty."""
    end = b"" if value else b"; Max-Age=0"
    return b"Set-Cookie: %b=%b%b%b\r\n" % (cookie, value, attributes(same_site, secure=secure), end)


def keep_private(response: Response) -> None:
    """Forbid shared caches to keep a response: they would hand one user's cookie to another (RFC 9111, 5.2.2.7).

    Fields that give orders to single caches beside Cache-Control (RFC 9213) are removed.
    """
    directives = [
        directive.strip(b" \t")
        for line in response.field(b"cache-control")
        for directive in _DIRECTIVE.findall(line)
        if directive.strip(b" \t")
    ]
    response.fields = _CACHING.sub(b"", response.fields)
    names = {directive.lower() for directive in directives}
    if b"no-store" not in names:
        kept = [each for each in directives if each.partition(b"=")[0].rstrip(b" \t").lower() not in _SHARED]
        directives = [*kept, b"private"]
    response.fields += b"Cache-Control: " + b", ".join(directives) + b"\r\n"
