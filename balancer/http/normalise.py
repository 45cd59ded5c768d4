"""Heads that the strict reader does not accept: rewrite valid but unusual ones with h11, or give the reason to reject.

Facts about h11 (0.16): it accepts bare LF and unfolds folded lines, so requests with those must be rejected before; it
merges equal lengths and rejects different ones; its messages quote the input, so they are not shown.
"""

import re

import h11

from balancer.errors import ProxyError, Source
from balancer.http import grammar

_VERSION = re.compile(rb".* HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]++)(.*+)")


def rejection(raw: bytes) -> ProxyError:
    """Return an error that says what is wrong with a request head that the grammar does not accept."""
    if grammar.NOT_IN_A_HEAD.search(raw):
        return _bad("a control character or a bare CR or LF in the head")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        return _bad("a folded field")
    start, _, fields = raw.partition(b"\r\n")
    if start.count(b" ") != 2:
        return _bad("a malformed request line: method, target and version, separated by single spaces")
    if _VERSION.fullmatch(start) and start[-3:-1] != b"1.":
        return _bad("only HTTP/1.0 and HTTP/1.1 are supported", 505)
    if grammar.FIELDS.fullmatch(fields, 0, len(fields) - 2) is None:
        return _bad("a malformed field: a name, a colon right after it, a value")
    return _bad("an invalid character in the request line")


def normalise_request(raw: bytes) -> bytes:
    """Rewrite a request that matches the grammar, with its target in origin form and at most one Content-Length.

    Raises ``ProxyError`` with status 400.
    """
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        raise _bad("malformed request head, or different lengths") from None
    if not isinstance(event, h11.Request):
        raise _bad("malformed request head")
    fields = event.headers.raw_items()
    target = event.target
    if not target.startswith(b"/") and (target != b"*" or event.method != b"OPTIONS"):
        target, host = _origin_form(event.method, target)
        # RFC 9112, 3.2.2: the authority of the target replaces a received Host.
        fields = [(b"Host", host), *(field for field in fields if field[0].lower() != b"host")]
    return _written(b"%b %b HTTP/%b" % (event.method, target, event.http_version), fields)


def normalise_response(raw: bytes, method: bytes) -> bytes:
    """Rewrite a response without folded lines and bare LF, and with at most one Content-Length.

    Raises ``ProxyError`` with status 502.
    """
    connection = h11.Connection(h11.CLIENT)
    # h11 needs a request to accept a response, and Upgrade in it to accept a 101.
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "backend"), ("Upgrade", "any")]))
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        raise ProxyError(Source.BACKEND, 502, "malformed response head, or different lengths") from None
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise ProxyError(Source.BACKEND, 502, "malformed response head")
    line = b"HTTP/%b %d %b" % (event.http_version, event.status_code, event.reason)
    return _written(line, event.headers.raw_items())


def _origin_form(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Origin form and host of a target in absolute form (RFC 9112, 3.2.2 and 3.2.4)."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or grammar.HOST.fullmatch(match[1]) is None:
        raise _bad("a target that is neither a path nor an http URL")
    host, rest = match.groups()
    if rest == b"" and method == b"OPTIONS":
        return b"*", host
    return (rest if rest.startswith(b"/") else b"/" + rest), host


def _written(line: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"%b\r\n%b\r\n" % (line, b"".join([b"%b: %b\r\n" % field for field in fields]))


def _bad(reason: str, status: int = 400) -> ProxyError:
    return ProxyError(Source.CLIENT, status, reason)
