"""Heads of HTTP/1.1 messages: bytes in, what a proxy must know out.

How a head is read. One regular expression accepts or refuses it as a whole; a second one finds the few fields a proxy
has to act upon, which are cut out, and the rest goes on as the bytes that came in: order, case and white space kept.
What is valid but unusual (a target in absolute form, lengths that may be merged, a backend's folded lines) goes to h11,
is written anew, and is then read like any other. So there is one reader, and nothing passes that it has not accepted.

``body`` of a message is its length in bytes, or ``CHUNKED``, or (responses only) ``UNTIL_CLOSE``.
"""

import re
from collections.abc import Callable

from balancer.errors import ProxyError, Source
from balancer.http import grammar, referee

CHUNKED = -1
"""The body is sent in chunks (RFC 9112, 7.1)."""
UNTIL_CLOSE = -2
"""The body ends when the backend closes the connection (RFC 9112, 6.3, last rule)."""

_MAX_LENGTH = (1 << 63) - 1
_BLANK = re.compile(rb"(?:\r\n)*+")


def skip_blank(buffer: bytes | bytearray) -> int:
    """Number of bytes of the empty lines before a request, which a server skips (RFC 9112, 2.2)."""
    match = _BLANK.match(buffer)
    return match.end() if match else 0


def find_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Index just after the blank line that ends a request head, or -1 while it has not come.

    ``start`` is where the bytes begin that no earlier call has seen. An incomplete head that can never become valid
    (a bare CR or LF, a control character) raises ``ProxyError`` at once instead of waiting for its timeout; a complete
    one is left to ``parse_request``, which refuses the same things.
    """
    end = buffer.find(b"\r\n\r\n", max(0, start - 3))
    if end >= 0:
        return end + 4
    if grammar.NOT_IN_A_HEAD.search(buffer, max(0, start - 1)):
        raise _client("a control character or a bare CR or LF in the head")
    return -1


def find_response_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Index just after the blank line that ends a response head, or -1 while it has not come.

    Backends may end lines with a bare LF: old ones do, and RFC 9112, 2.2 allows to accept it.
    """
    start = max(0, start - 2)
    end = buffer.find(b"\n\r\n", start)
    bare = buffer.find(b"\n\n", start) if end < 0 else buffer.find(b"\n\n", start, end + 1)
    return bare + 2 if bare >= 0 else end + 3 if end >= 0 else -1


class Head:
    """What requests and responses have in common."""

    __slots__ = ("body", "content_length", "fields", "keep_alive", "minor", "upgrade")

    minor: int
    """Minor version, 0 or 1."""
    fields: bytes
    """Lines to pass on, each ending with CRLF, without hop-by-hop fields (RFC 9110, 7.6.1), framing and Host."""
    body: int
    """Length in bytes, ``CHUNKED`` or ``UNTIL_CLOSE``."""
    content_length: bytes | None
    """The length as announced, in digits; replies to HEAD and 304 announce one without sending a body."""
    keep_alive: bool
    """The peer is willing to use the connection again."""
    upgrade: bytes | None
    """Value of Upgrade, if Connection names it and the version is 1.1; never h2c."""

    def field(self, name: bytes) -> list[bytes]:
        """Values of the field called ``name`` (lower case) in ``fields``, in order."""
        return _values(self.fields, name)


class Request(Head):
    """A client's request. The received forwarding fields are claims: to be believed from trusted peers only."""

    __slots__ = (
        "expect_continue",
        "forwarded",
        "forwarded_for",
        "forwarded_host",
        "forwarded_proto",
        "host",
        "method",
        "other_claims",
        "request_id",
        "target",
        "trace",
    )

    def __init__(self, method: bytes, target: bytes, minor: int) -> None:
        self.method = method
        self.target = target
        """As received; a target in absolute form is reduced to origin form."""
        self.minor = minor
        self.fields = b""
        self.body = 0
        self.content_length = None
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
        """Value of X-Balancer-Trace, which asks why this backend was chosen: a pass, so it goes no further."""
        self.other_claims = b""
        """Lines of further fields of this kind, such as X-Forwarded-Port and X-Real-IP."""

    def field(self, name: bytes) -> list[bytes]:
        """Values of a field as the client sent it, Host and the claims included, which are one value each."""
        if name == b"host":
            return [self.host] if self.host else []
        if slot := _CLAIMS.get(name):
            claim = getattr(self, slot)
            return [] if claim is None else [claim]
        return _values(self.fields, name) or _values(self.other_claims, name)


class Response(Head):
    """A backend's response, interim ones (1xx) included."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, minor: int, reason: bytes) -> None:
        self.status = status
        self.minor = minor
        self.reason = reason
        self.fields = b""
        self.body = 0
        self.content_length = None
        self.keep_alive = minor == 1
        self.upgrade = None


def parse_request(raw: bytes) -> Request:
    """Read exactly one request head, its final blank line included.

    Raises ``ProxyError``: 400 for whatever is malformed or ambiguous (RFC 9112, 3.2 and 6.3), 501 for CONNECT, 505 for
    versions other than 1.0 and 1.1.
    """
    request = _read_request(raw) or _read_request(referee.settle_request(raw))
    if request is None:
        raise _client("malformed request head")
    return request


def parse_response(raw: bytes, method: bytes) -> Response:
    """Read exactly one response head, its final blank line included, to a request of ``method``.

    Raises ``ProxyError`` with status 502. Folded lines and bare LF are normalised rather than refused: RFC 9112, 5.2
    leaves a gateway both ways, and they come from old servers, not from attackers.
    """
    response = _read_response(raw, method) or _read_response(referee.settle_response(raw, method), method)
    if response is None:
        raise _backend("malformed response head")
    return response


def without(fields: bytes, names: set[bytes]) -> bytes:
    """``fields`` without the lines whose name, in lower case, is one of ``names``."""
    lines = fields.split(b"\r\n")
    return b"\r\n".join([line for line in lines if line.partition(b":")[0].lower() not in names])


def _values(fields: bytes, name: bytes) -> list[bytes]:
    lines = (line.partition(b":") for line in fields.split(b"\r\n"))
    return [value.strip(b" \t") for found, _, value in lines if found.lower() == name]


def drop_special(fields: bytes) -> bytes:
    """``fields`` without framing, Host, Expect, hop-by-hop and forwarding fields: what may stand in a trailer."""
    return grammar.REQUEST_SPECIAL.sub(b"", b"\n" + fields)[1:]


def _client(reason: str, status: int = 400) -> ProxyError:
    return ProxyError(Source.CLIENT, status, reason)


def _backend(reason: str) -> ProxyError:
    return ProxyError(Source.BACKEND, 502, reason)


def _read_request(raw: bytes) -> Request | None:
    """The request, or None if the referee has to settle something first."""
    line = grammar.REQUEST.fullmatch(raw)
    if line is None:
        raise referee.refusal(raw)
    method, target, minor = line.groups()
    if method == b"CONNECT":
        raise _client("CONNECT is not supported", 501)
    if target[0] != 0x2F and (target != b"*" or method != b"OPTIONS"):
        return None
    request = Request(method, target, 1 if minor == b"1" else 0)
    request.fields, special = _divided(raw, grammar.REQUEST_SPECIAL)
    host = special.get(b"host")
    if host is not None:
        if grammar.HOST.fullmatch(host) is None:
            raise _client("more than one Host, or one that is no host name")
        request.host = host
        if len(special) == 1 and request.minor:
            return request
    elif request.minor:
        raise _client("Host is missing")
    if claims := [name for name in special if name.startswith((b"x-", b"forwarded"))]:
        _put_aside(request, claims, special)
    if b"expect" in special and request.minor:  # in HTTP/1.0 it means nothing (RFC 9110, 10.1.1)
        expect = special[b"expect"]
        request.fields += b"Expect: " + expect + b"\r\n"
        request.expect_continue = expect.lower() == b"100-continue"
    return request if _settled(request, special, _client) else None


def _read_response(raw: bytes, method: bytes) -> Response | None:
    """The response, or None if the referee has to settle something first."""
    line = grammar.RESPONSE.fullmatch(raw)
    if line is None:
        return None
    minor, digits, reason = line.groups(b"")
    status = int(digits)
    response = Response(status, 1 if minor == b"1" else 0, reason)
    response.body = UNTIL_CLOSE
    response.fields, special = _divided(raw, grammar.RESPONSE_SPECIAL)
    if not _settled(response, special, _backend):
        return None
    if status < 200 or status == 204:
        # No body, and no length either (RFC 9110, 8.6). A backend that announces one may well send it, so do not let
        # its bytes be taken for the next response.
        response.keep_alive = response.keep_alive and response.body in (0, UNTIL_CLOSE)
        response.body, response.content_length = 0, None
    elif status == 304 or method == b"HEAD":
        response.body = 0
    elif response.body == UNTIL_CLOSE:
        response.keep_alive = False
    return response


def _divided(raw: bytes, special: re.Pattern[bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """The lines to pass on, and the values of the special fields by name in lower case.

    Lines of one field are one list (RFC 9110, 5.3), so there is a comma in whatever came more than once.
    """
    parts = special.split(raw)  # text, name, value, text, name, value, ... text
    found: dict[bytes, bytes] = {}
    for index in range(1, len(parts), 3):
        name, value = parts[index].lower(), parts[index + 1].strip(b" \t")
        found[name] = found[name] + b", " + value if name in found else value
    kept = b"".join(parts[::3])
    return kept[kept.index(b"\n") + 1 : -2], found


_CLAIMS = {
    b"x-forwarded-for": "forwarded_for",
    b"x-forwarded-proto": "forwarded_proto",
    b"x-forwarded-host": "forwarded_host",
    b"forwarded": "forwarded",
    b"x-request-id": "request_id",
    b"x-balancer-trace": "trace",
}


def _put_aside(request: Request, claims: list[bytes], special: dict[bytes, bytes]) -> None:
    """Put aside what the peer says about others; spellings with underscores are never believed."""
    others = []
    for name in claims:
        value = special[name]
        if slot := _CLAIMS.get(name):
            setattr(request, slot, value)
        elif b"_" not in name:
            others.append(b"%b: %b\r\n" % (name.title(), value))
    request.other_claims = b"".join(others)


def _settled(head: Head, special: dict[bytes, bytes], fault: Callable[[str], ProxyError]) -> bool:
    """Act on Connection and the framing fields; False if several lengths have to be merged first (RFC 9112, 6.3)."""
    connection = special.get(b"connection")
    if connection == b"keep-alive":  # what browsers and servers say most, so it is not taken apart
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
        if special[b"transfer-encoding"].lower() != b"chunked":
            raise fault("a Transfer-Encoding other than chunked")
        head.body = CHUNKED
    elif length is not None:
        if not length.isdigit() or len(length) > 19 or int(length) > _MAX_LENGTH:
            if b"," in length:
                return False
            raise fault("Content-Length is no length")
        head.body = int(length)
        head.content_length = b"%d" % head.body
    return True


def _connection(head: Head, connection: bytes, upgrade: bytes) -> None:
    """Act on Connection: persistence, upgrade, and the fields it names, which go no further (RFC 9110, 7.6.1).

    Host and framing fields are no longer among ``fields``, so naming them removes nothing.
    """
    options = {option.strip(b" \t") for option in connection.lower().split(b",")}
    head.keep_alive = b"close" not in options and (head.minor == 1 or b"keep-alive" in options)
    if upgrade and b"upgrade" in options and head.minor == 1 and b"h2c" not in upgrade.lower():
        # A tunnel of h2c would carry requests nobody here reads: they would bypass tokens and rules.
        head.upgrade = upgrade
    if named := options - {b"close", b"keep-alive", b"upgrade", b""}:
        head.fields = without(head.fields, named)
