"""Check both halves of upgrades and WebSocket handshakes (RFC 6455, 4.2; RFC 9110, 7.8).

After a 101 the connection is a tunnel whose bytes are not parsed. With a wrong 101, from a confused backend or provoked
by a client, the client's next requests would pass unchecked.
"""

import base64
import hashlib
import re
from typing import Final

from balancer.errors import ProxyError, Source
from balancer.http.head import Request, Response

REFUSAL_FIELDS: Final = {
    405: b"Allow: GET\r\n",
    426: b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}
"""Header lines of the response to a rejected handshake, by its status."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# 16 bytes in base64: the last of 22 characters has only two significant bits.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")


def is_websocket(request: Request) -> bool:
    """Return whether the request is a WebSocket handshake."""
    return request.upgrade is not None and b"websocket" in _protocols(request.upgrade)


def check_request(request: Request) -> None:
    """Check a client's WebSocket handshake.

    Raises ``ProxyError``: 405 if the method is not GET, 426 if the version is not 13 (see ``REFUSAL_FIELDS``), 400 for
    a body, or without exactly one key of 16 bytes.
    """
    if request.method != b"GET":
        raise ProxyError(Source.CLIENT, 405, "a WebSocket handshake must be a GET")
    if request.body != 0:
        raise ProxyError(Source.CLIENT, 400, "a WebSocket handshake must not have a body")
    if request.field(b"sec-websocket-version") != [b"13"]:
        raise ProxyError(Source.CLIENT, 426, "only version 13 of WebSocket is supported")
    keys = request.field(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise ProxyError(Source.CLIENT, 400, "a WebSocket handshake needs one key of 16 bytes in base64")


def check_response(request: Request, response: Response) -> None:
    """Check a backend's 101: it must switch to a protocol that the client offered, for WebSocket with the right key.

    WebSocket requests must have passed ``check_request``. Responses of any other status are accepted.
    Raises ``ProxyError`` with status 502.
    """
    if response.status != 101:
        return
    if request.upgrade is None:
        raise _wrong("the backend switched protocols without being asked to")
    if response.upgrade is None or response.upgrade.lower() not in _protocols(request.upgrade):
        raise _wrong("the backend switched to a protocol that was not offered")
    if response.upgrade.lower() == b"websocket":
        accept = base64.b64encode(_digest(request.field(b"sec-websocket-key")[0]))
        if response.field(b"sec-websocket-accept") != [accept]:
            raise _wrong("the backend's Sec-WebSocket-Accept does not match the key")


def _digest(key: bytes) -> bytes:
    return hashlib.sha1(key + _GUID, usedforsecurity=False).digest()


def _protocols(upgrade: bytes) -> list[bytes]:
    return [protocol.strip(b" \t") for protocol in upgrade.lower().split(b",")]


def _wrong(reason: str) -> ProxyError:
    return ProxyError(Source.BACKEND, 502, reason)
