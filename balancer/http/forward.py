"""Write request heads to backends and response heads to clients.

Framing, Connection and forwarding fields hold for one connection only: they are written here, never passed through.
"""

import re
from typing import Final

from balancer.config.settings import Forwarded
from balancer.http.head import CHUNKED, UNTIL_CLOSE, Request, Response

_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")


class RequestWriter:
    """Writes the request heads of one client connection to backends, always as HTTP/1.1.

    ``client`` is the client's address as text, ``peer`` that of the socket's far end, if a PROXY header has introduced
    the client; ``scheme`` is ``http`` or ``https``. Forwarding fields of this peer are
    replaced (``forwarded`` is ``set``), extended (``append``) or left as they are (``keep``). An HTTP/1.0 request
    without Host gets an empty one (RFC 9112, 3.2). For requests with the same fields as the last one (see
    ``RequestReader``) the prepared lines are reused.
    """

    __slots__ = ("_after_id", "_before_id", "_client", "_forwarded", "_peer", "_received_id", "_scheme", "_seen")

    def __init__(self, client: bytes, scheme: bytes, forwarded: Forwarded, peer: bytes | None = None) -> None:
        self._client = client
        self._peer = client if peer is None else peer
        self._scheme = scheme
        self._forwarded = forwarded
        self._seen: Request | None = None
        self._before_id = self._after_id = b""
        self._received_id: bytes | None = None

    def write(self, request: Request, fresh: bytes) -> tuple[bytes, bytes]:
        """Return the head and the request's id.

        The id is the received one if the peer's fields are not replaced and it is 1 to 128 visible ASCII characters,
        else ``fresh``.
        """
        if request is not self._seen:
            self._prepare(request)
        name = self._received_id or fresh
        return b"%b %b%b%b%b" % (request.method, request.target, self._before_id, name, self._after_id), name

    def forget(self) -> None:
        """Prepare the lines of the next request anew, even if it is the one seen last."""
        self._seen = None

    def _prepare(self, request: Request) -> None:
        """Prepare the lines that are the same for all requests with these fields."""
        self._seen = request
        lines, claims = self._claims(request)
        if request.body == CHUNKED:
            claims += b"Transfer-Encoding: chunked\r\n"
        elif request.content_length is not None:
            claims += b"Content-Length: " + request.content_length + b"\r\n"
        if request.upgrade is not None:
            claims += b"Connection: Upgrade\r\nUpgrade: " + request.upgrade + b"\r\n"
        self._before_id = b" HTTP/1.1\r\nHost: %b\r\n%b%bX-Request-ID: " % (request.host, request.fields, lines)
        self._after_id = b"\r\n%b\r\n" % claims

    def _claims(self, request: Request) -> tuple[bytes, bytes]:
        """Return the forwarding fields as lines before and after the request's id, and note the id received."""
        believed = self._forwarded != "set"
        received = believed and request.request_id is not None and _REQUEST_ID.fullmatch(request.request_id)
        self._received_id = request.request_id if received else None
        chain = proto = host = None
        more = b""
        if believed:
            chain, proto, host = request.forwarded_for, request.forwarded_proto, request.forwarded_host
            more = request.other_claims
            if request.forwarded is not None:
                more += b"Forwarded: " + request.forwarded + b"\r\n"
        if self._forwarded != "keep":
            chain = chain_of(chain, self._client, self._peer)
            proto, host = proto or self._scheme, host or request.host
        lines = b""
        if chain is not None:
            lines = b"X-Forwarded-For: " + chain + b"\r\n"
        if proto is not None:
            lines += b"X-Forwarded-Proto: " + proto + b"\r\n"
        if host:
            more += b"X-Forwarded-Host: " + host + b"\r\n"
        return lines, more


def chain_of(received: bytes | None, client: bytes, peer: bytes) -> bytes:
    """Return X-Forwarded-For for a host: what was ``received`` from the ``peer``, and the next address.

    That is the client's. A peer that has introduced its client by a PROXY header may have named it here already; then
    the peer's address follows. No address appears twice in a row.
    """
    if not received:
        return client
    last = received.rpartition(b",")[2].strip(b" \t")
    following = peer if last == client else client
    return received if last == following else received + b", " + following


def response_head(response: Response, client_minor: int, keep_alive: bool) -> tuple[bytes, int]:
    """Return the head for the client and the framing of its body: a length, ``CHUNKED`` or ``UNTIL_CLOSE``.

    ``UNTIL_CLOSE`` means that the connection to the client must be closed after the body, regardless of ``keep_alive``.
    A body without a length is chunked for HTTP/1.1 clients, so that they can detect truncation. The version is always
    HTTP/1.1, the highest we support (RFC 9110, 2.5), as with nginx. HTTP/1.0 has no interim responses (RFC 9110, 15.2):
    for such a client their heads are empty.
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
    own = b""
    if body < 0:
        body = CHUNKED if client_minor else UNTIL_CLOSE
        own = b"Transfer-Encoding: chunked\r\n" if client_minor else b""
    if not keep_alive or body == UNTIL_CLOSE:
        own += b"Connection: close\r\n"
    elif client_minor == 0:
        own += b"Connection: keep-alive\r\n"
    if status == 426 and response.upgrade is not None:  # must say what to upgrade to (RFC 9110, 15.5.22)
        own += b"Connection: Upgrade\r\nUpgrade: " + response.upgrade + b"\r\n"
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, response.reason, response.fields, own), body
