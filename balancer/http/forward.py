"""Heads as they leave: to a backend, and back to the client.

Both sides speak for themselves: framing, Connection and the forwarding fields are written here, never passed on.
"""

import re

from balancer.http.head import CHUNKED, UNTIL_CLOSE, Request, Response

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


def effective_request_id(request: Request, trusted: bool, fresh: bytes) -> bytes:
    """The id a request goes by: the received one if the peer is trusted and it is sane, else ``fresh``.

    Sane is 1 to 128 visible ASCII characters. ``request_head`` decides with this too, so it may be given either id.
    """
    if trusted and request.request_id is not None and _REQUEST_ID.fullmatch(request.request_id):
        return request.request_id
    return fresh


def request_head(request: Request, client: bytes, scheme: bytes, trusted: bool, request_id: bytes) -> bytes:
    """The head for the backend, always HTTP/1.1.

    ``client`` is the peer's address as text, ``scheme`` is ``http`` or ``https``. A trusted peer's claims are kept and
    extended, anyone else's are replaced. An HTTP/1.0 request without Host gets an empty one (RFC 9112, 3.2).
    """
    chain, proto, host, claims = client, scheme, request.host, b""
    if trusted:
        if request.forwarded_for:
            chain = request.forwarded_for + b", " + client
        proto = request.forwarded_proto or scheme
        host = request.forwarded_host or host
        claims = request.other_claims
        if request.forwarded is not None:
            claims += b"Forwarded: " + request.forwarded + b"\r\n"
        request_id = effective_request_id(request, trusted, request_id)
    if host:
        claims += b"X-Forwarded-Host: " + host + b"\r\n"
    if request.body == CHUNKED:
        claims += b"Transfer-Encoding: chunked\r\n"
    elif request.content_length is not None:
        claims += b"Content-Length: " + request.content_length + b"\r\n"
    if request.upgrade is not None:
        claims += b"Connection: Upgrade\r\nUpgrade: " + request.upgrade + b"\r\n"
    return (
        b"%b %b HTTP/1.1\r\nHost: %b\r\n%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Request-ID: %b\r\n%b\r\n"
        % (
            request.method,
            request.target,
            request.host,
            request.fields,
            chain,
            proto,
            request_id,
            claims,
        )
    )


def response_head(response: Response, client_minor: int, keep_alive: bool) -> tuple[bytes, int]:
    """The head for the client, and how its body is framed there: a length, ``CHUNKED`` or ``UNTIL_CLOSE``.

    ``UNTIL_CLOSE`` means that the connection to the client has to be closed after the body, whatever ``keep_alive``
    says. A body without a length goes to HTTP/1.1 clients in chunks, so that they can tell a truncated one. The version
    is always HTTP/1.1, the highest spoken here (RFC 9110, 2.5), as with nginx. HTTP/1.0 has no interim responses:
    for such a client they are empty (RFC 9110, 15.2).
    """
    status = response.status
    if status < 200:
        if client_minor == 0:
            return b"", 0
        own = b""
        if status == 101 and response.upgrade is not None:
            own = b"Connection: Upgrade\r\nUpgrade: " + response.upgrade + b"\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, response.reason, response.fields, own), 0
    body = response.body
    if body < 0:
        body = CHUNKED if client_minor else UNTIL_CLOSE
        own = b"Transfer-Encoding: chunked\r\n" if client_minor else b""
    elif response.content_length is not None:
        own = b"Content-Length: " + response.content_length + b"\r\n"
    else:
        own = b""
    if not keep_alive or body == UNTIL_CLOSE:
        own += b"Connection: close\r\n"
    elif client_minor == 0:
        own += b"Connection: keep-alive\r\n"
    if status == 426 and response.upgrade is not None:  # must say what to upgrade to (RFC 9110, 15.5.22)
        own += b"Connection: Upgrade\r\nUpgrade: " + response.upgrade + b"\r\n"
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, response.reason, response.fields, own), body
