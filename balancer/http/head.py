"""Parse the heads of HTTP/1.1 messages.

How a head is read. One regular expression accepts or rejects it as a whole. A second one finds the few fields that a
proxy must interpret, which are cut out; the rest is forwarded as the bytes received: order, case and white space kept.
Valid but unusual heads (a target in absolute form, lengths that may be merged, a backend's folded lines) are parsed and
rewritten with h11 (``normalise``), and then read like any other. So there is one reader, and nothing is forwarded that
it has not accepted.

``body`` of a message is its length in bytes, or ``CHUNKED``, or (responses only) ``UNTIL_CLOSE``.
"""

import re
from collections.abc import Callable
from typing import Final

from balancer.errors import ProxyError, Source
from balancer.http import grammar, normalise

CHUNKED: Final = -1
"""The body is chunked (RFC 9112, 7.1)."""
UNTIL_CLOSE: Final = -2
"""The body ends when the backend closes the connection (RFC 9112, 6.3, last rule)."""

_MAX_LENGTH: Final = (1 << 63) - 1
_BLANK: Final = re.compile(rb"(?:\r\n)*+")


def skip_blank(buffer: bytes | bytearray) -> int:
    """Return the length of empty lines before a request, which a server skips (RFC 9112, 2.2)."""
    match = _BLANK.match(buffer)
    return match.end() if match else 0


def find_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Return the index after the blank line that ends a request head, or -1 if it has not arrived.

    ``start`` is the index of the first byte that no earlier call has seen. An incomplete head that can never become
    valid (a bare CR or LF, a control character) raises ``ProxyError`` at once, instead of waiting for the timeout; in a
    complete one ``parse_request`` rejects them.
    """
    end = buffer.find(b"\r\n\r\n", max(0, start - 3))
    if end >= 0:
        return end + 4
    if grammar.NOT_IN_A_HEAD.search(buffer, max(0, start - 1)):
        raise _client("a control character or a bare CR or LF in the head")
    return -1


def find_response_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Return the index after the blank line that ends a response head, or -1 if it has not arrived.

    Backends may end lines with a bare LF: old ones do, and RFC 9112, 2.2 allows accepting it.
    """
    start = max(0, start - 2)
    end = buffer.find(b"\n\r\n", start)
    bare = buffer.find(b"\n\n", start) if end < 0 else buffer.find(b"\n\n", start, end + 1)
    return bare + 2 if bare >= 0 else end + 3 if end >= 0 else -1


REFUSALS: Final = {b"no-backend": "no-backend", b"full": "full", b"draining": "draining"}
"""Values of Balancer-Refused: why a balancer could not take a request, of which no host has had any byte."""


class Head:
    """The common part of requests and responses."""

    __slots__ = ("body", "fields", "keep_alive", "minor", "upgrade")

    minor: int
    """Minor version, 0 or 1."""
    fields: bytes
    """Lines to forward, each ending with CRLF, without hop-by-hop fields (RFC 9110, 7.6.1), framing and Host."""
    body: int
    """Length in bytes, ``CHUNKED`` or ``UNTIL_CLOSE``."""
    keep_alive: bool
    """Whether the peer allows reuse of the connection."""
    upgrade: bytes | None
    """Value of Upgrade, if Connection names it and the version is 1.1; never h2c."""

    def field(self, name: bytes) -> list[bytes]:
        """Return the values of the field ``name`` (lower case) in ``fields``, in order."""
        return _values(self.fields, name)


class Request(Head):
    """A client's request. Its forwarding fields are claims, to be used only from trusted peers."""

    __slots__ = (
        "content_length",
        "expect_continue",
        "forwarded",
        "forwarded_for",
        "forwarded_host",
        "forwarded_proto",
        "host",
        "method",
        "other_claims",
        "request_id",
        "taken",
        "taken_by",
        "target",
        "tiers",
        "trace",
    )

    def __init__(self, method: bytes, target: bytes, minor: int) -> None:
        self.method = method
        self.target = target
        """As received, except that absolute form is converted to origin form."""
        self.minor = minor
        self.fields = b""
        self.body = 0
        self.content_length: bytes | None = None
        """Content-Length in digits."""
        self.keep_alive = minor == 1
        self.upgrade = None
        self.host = b""
        """Value of Host; empty only in HTTP/1.0."""
        self.expect_continue = False
        self.forwarded_for: bytes | None = None
        self.forwarded_proto: bytes | None = None
        self.forwarded_host: bytes | None = None
        self.forwarded: bytes | None = None
        self.request_id: bytes | None = None
        self.trace: bytes | None = None
        """Value of X-Balancer-Trace, which requests an explanation of the placement; secret, so never forwarded."""
        self.tiers: bytes | None = None
        """Value of Balancer-Tier: how many balancers have sent it on to another one."""
        self.taken: dict[bytes, list[bytes]] = {}
        """Values of cookies that are ours, by name; no backend sees them. See ``balancer.http.remember``."""
        self.taken_by: object = None
        """What has removed them from ``fields``."""
        self.other_claims = b""
        """Lines of other forwarding fields, such as X-Forwarded-Port and X-Real-IP."""

    def field(self, name: bytes) -> list[bytes]:
        """Return the values of a field as the client sent it; Host and each claim have one value."""
        if name == b"host":
            return [self.host] if self.host else []
        if slot := _CLAIMS.get(name):
            claim = getattr(self, slot)
            return [] if claim is None else [claim]
        return _values(self.fields, name) or _values(self.other_claims, name)


class Response(Head):
    """A backend's response, which may be interim (1xx). Its ``fields`` include its Content-Length."""

    __slots__ = ("end", "reason", "refused", "status", "whole")

    def __init__(self, status: int, minor: int, reason: bytes) -> None:
        self.status = status
        self.minor = minor
        self.reason = reason
        self.refused = ""
        """One of ``REFUSALS`` from Balancer-Refused, to be believed only from a tier; or empty."""
        self.fields = b""
        self.body = 0
        self.keep_alive = minor == 1
        self.upgrade = None
        self.whole = b""
        """Head and what came with it, as an HTTP/1.1 client may get them; empty if the head has to be written anew."""
        self.end = 0
        """Where its body begins in the bytes that it came with."""


def parse_request(raw: bytes) -> Request:
    """Parse exactly one request head, including its final blank line.

    Raises ``ProxyError``: 400 for malformed or ambiguous heads (RFC 9112, 3.2 and 6.3), 501 for CONNECT and for
    transfer codings other than chunked, 505 for major versions other than 1. Higher minor versions are read as 1.1, the
    highest we support (RFC 9110, 2.5).
    """
    request = _read_request(raw) or _read_request(normalise.normalise_request(raw))
    if request is None:
        raise _client("malformed request head")
    return request


def parse_response(raw: bytes, method: bytes) -> Response:
    """Parse exactly one response head, including its final blank line, to a request of ``method``.

    Raises ``ProxyError`` with status 502. Folded lines and bare LF are normalised, not rejected: RFC 9112, 5.2 allows
    both, and they come from old servers, not from attackers.
    """
    response = _read_response(raw, method) or _read_response(normalise.normalise_response(raw, method), method)
    if response is None:
        raise _backend("malformed response head")
    return response


def without(fields: bytes, names: set[bytes]) -> bytes:
    """Return ``fields`` without the lines whose name, in lower case, is one of ``names``."""
    lines = fields.split(b"\r\n")
    return b"\r\n".join([line for line in lines if line.partition(b":")[0].lower() not in names])


def _values(fields: bytes, name: bytes) -> list[bytes]:
    lines = (line.partition(b":") for line in fields.split(b"\r\n"))
    return [value.strip(b" \t") for found, _, value in lines if found.lower() == name]


def drop_special(fields: bytes) -> bytes:
    """Return ``fields`` without framing, Host, Expect, hop-by-hop and forwarding fields: what a trailer may have."""
    return grammar.REQUEST_SPECIAL.sub(b"", b"\n" + fields)[1:]


def _client(reason: str, status: int = 400) -> ProxyError:
    return ProxyError(Source.CLIENT, status, reason)


def _backend(reason: str) -> ProxyError:
    return ProxyError(Source.BACKEND, 502, reason)


def _read_request(raw: bytes) -> Request | None:
    """The request, or None if it has to be normalised first."""
    line = grammar.REQUEST.fullmatch(raw)
    if line is None:
        raise normalise.rejection(raw)
    method, target, minor = line.groups()
    if method == b"CONNECT":
        raise _client("CONNECT is not supported", 501)
    if target[0] != 0x2F and (target != b"*" or method != b"OPTIONS"):
        return None
    request = Request(method, target, 0 if minor == b"0" else 1)
    request.fields, special = _split_fields(raw, grammar.REQUEST_SPECIAL)
    host = special.get(b"host")
    if host is not None:
        if grammar.HOST.fullmatch(host) is None:
            raise _client("more than one Host, or an invalid one")
        request.host = host
        if len(special) == 1 and request.minor:
            return request
    elif request.minor:
        raise _client("Host is missing")
    if claims := [name for name in special if name.startswith((b"x-", b"forwarded", grammar.TIER_PREFIX))]:
        _set_claims(request, claims, special)
    if b"expect" in special and request.minor:  # HTTP/1.0 has none (RFC 9110, 10.1.1)
        expect = special[b"expect"]
        request.fields += b"Expect: " + expect + b"\r\n"
        request.expect_continue = expect.lower() == b"100-continue"
    if not _apply_framing(request, special, _client):
        return None
    if request.body >= 0 and b"content-length" in special:
        request.content_length = b"%d" % request.body
    return request


def _read_response(raw: bytes, method: bytes) -> Response | None:
    """The response, or None if it has to be normalised first."""
    line = grammar.RESPONSE.fullmatch(raw)
    if line is None:
        return None
    minor, digits, reason = line.groups(b"")
    status = int(digits)
    response = Response(status, 0 if minor == b"0" else 1, reason)
    response.body = UNTIL_CLOSE
    response.fields, special = _split_fields(raw, grammar.RESPONSE_SPECIAL)
    if not _apply_framing(response, special, _backend):
        return None
    response.refused = REFUSALS.get(special.get(b"balancer-refused", b""), "")
    announced = response.body
    if status < 200 or status == 204:
        # No body, and no length either (RFC 9110, 8.6). A backend that announces one may also send it, and those bytes
        # must not be taken for the next response.
        response.keep_alive = response.keep_alive and response.body in (0, UNTIL_CLOSE)
        response.body = 0
        return response
    if announced >= 0:  # responses to HEAD and 304 responses may have one without a body
        response.fields += b"Content-Length: %d\r\n" % announced
    if status == 304 or method == b"HEAD":
        response.body = 0
    elif announced == UNTIL_CLOSE:
        response.keep_alive = False
    return response


def _split_fields(raw: bytes, special: re.Pattern[bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """The lines to forward, and the values of the special fields by name in lower case.

    Several lines of a field are joined by commas (RFC 9110, 5.3).
    """
    parts = special.split(raw)  # text, name, value, text, name, value, ... text
    found: dict[bytes, bytes] = {}
    for index in range(1, len(parts), 3):
        name, value = parts[index].lower(), parts[index + 1].strip(b" \t")
        found[name] = found[name] + b", " + value if name in found else value
    kept = b"".join(parts[::3])
    return kept[kept.index(b"\n") + 1 : -2], found


_CLAIMS: Final = {
    b"x-forwarded-for": "forwarded_for",
    b"x-forwarded-proto": "forwarded_proto",
    b"x-forwarded-host": "forwarded_host",
    b"forwarded": "forwarded",
    b"x-request-id": "request_id",
    b"x-balancer-trace": "trace",
    b"balancer-tier": "tiers",
}


def _set_claims(request: Request, claims: list[bytes], special: dict[bytes, bytes]) -> None:
    """Store the forwarding fields; spellings with underscores are dropped."""
    others = []
    for name in claims:
        value = special[name]
        if slot := _CLAIMS.get(name):
            setattr(request, slot, value)
        elif b"_" not in name and not name.startswith(grammar.TIER_PREFIX):
            others.append(b"%b: %b\r\n" % (name.title(), value))
    request.other_claims = b"".join(others)


def _apply_framing(head: Head, special: dict[bytes, bytes], fault: Callable[[str], ProxyError]) -> bool:
    """Apply Connection and the framing fields; False if several lengths have to be merged first (RFC 9112, 6.3)."""
    connection = special.get(b"connection")
    if connection == b"keep-alive":  # fast path: the most frequent value
        head.keep_alive = True
    elif connection is not None:
        _connection(head, connection, special.get(b"upgrade", b""))
    elif head.minor == 0:
        head.keep_alive = False
    length = special.get(b"content-length")
    if b"transfer-encoding" in special:
        if length is not None:
            raise fault("both Content-Length and Transfer-Encoding")
        if head.minor == 0:
            raise fault("Transfer-Encoding in HTTP/1.0")
        coding = special[b"transfer-encoding"].lower()
        if coding != b"chunked":
            error = fault("a Transfer-Encoding other than chunked")
            if error.source is Source.CLIENT and grammar.CODED_AND_CHUNKED.fullmatch(coding):
                error.status = 501  # well framed, but in codings that we do not know (RFC 9112, 6.1)
            raise error
        head.body = CHUNKED
    elif length is not None:
        if not length.isdigit() or len(length) > 19 or int(length) > _MAX_LENGTH:
            if b"," in length:
                return False
            raise fault("an invalid Content-Length")
        head.body = int(length)
    return True


def _connection(head: Head, connection: bytes, upgrade: bytes) -> None:
    """Apply Connection: persistence, upgrade, and removal of the fields it names (RFC 9110, 7.6.1).

    Host and framing fields are not in ``fields`` any more, so naming them removes nothing.
    """
    options = {option.strip(b" \t") for option in connection.lower().split(b",")}
    head.keep_alive = b"close" not in options and (head.minor == 1 or b"keep-alive" in options)
    if upgrade and b"upgrade" in options and head.minor == 1 and b"h2c" not in upgrade.lower():
        # An h2c tunnel would carry requests that we do not parse: they would bypass tokens and rules.
        head.upgrade = upgrade
    if named := options - {b"close", b"keep-alive", b"upgrade", b""}:
        head.fields = without(head.fields, named)
