"""Upgrades: the WebSocket handshake on both sides, and which 101 is a true one (RFC 6455, 4.2; RFC 9110, 7.8).

After a 101 the connection is a tunnel nobody reads. A false one, from a confused backend or provoked by a client, would
let the client's next bytes through as they are, so both halves of the handshake are checked.
"""

import base64
import hashlib
import re

from balancer.errors import ProxyError, Source
from balancer.http.head import Request, Response

REFUSAL_FIELDS = {
    405: b"Allow: GET\r\n",
    426: b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}
"""Lines to add to the reply to a refused handshake, by its status."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# 16 bytes in base64; the last of 22 characters holds two bits only.
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")


def is_websocket(request: Request) -> bool:
    """The request asks for a WebSocket."""
    return request.upgrade is not None and b"websocket" in _protocols(request.upgrade)


def check_request(request: Request) -> None:
    """Check a client's WebSocket handshake.

    Raises ``ProxyError``: 405 unless the method is GET, 426 unless the version is 13 (see ``REFUSAL_FIELDS``), 400 for
    a body or for anything but one key of 16 bytes.
    """
    if request.method != b"GET":
        raise ProxyError(Source.CLIENT, 405, "a WebSocket handshake is a GET")
    if request.body != 0:
        raise ProxyError(Source.CLIENT, 400, "a WebSocket handshake has no body")
    if request.field(b"sec-websocket-version") != [b"13"]:
        raise ProxyError(Source.CLIENT, 426, "only version 13 of WebSocket is spoken here")
    keys = request.field(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        raise ProxyError(Source.CLIENT, 400, "a WebSocket handshake has one key of 16 bytes in base64")


def check_response(request: Request, response: Response) -> None:
    """Check a backend's 101: it switches to a protocol the client offered, and knows the key if that is WebSocket.

    A WebSocket request has passed ``check_request`` before. Responses of any other status are fine.
    Raises ``ProxyError`` with status 502.
    """
    if response.status != 101:
        return
    if request.upgrade is None:
        raise _false("the backend switched protocols, but nobody asked")
    if response.upgrade is None or response.upgrade.lower() not in _protocols(request.upgrade):
        raise _false("the backend switched to a protocol nobody offered")
    if response.upgrade.lower() == b"websocket":
        accept = base64.b64encode(_digest(request.field(b"sec-websocket-key")[0]))
        if response.field(b"sec-websocket-accept") != [accept]:
            raise _false("the backend's Sec-WebSocket-Accept does not fit the key")


def _digest(key: bytes) -> bytes:
    return hashlib.sha1(key + _GUID, usedforsecurity=False).digest()


def _protocols(upgrade: bytes) -> list[bytes]:
    return [protocol.strip(b" \t") for protocol in upgrade.lower().split(b",")]


def _false(reason: str) -> ProxyError:
    return ProxyError(Source.BACKEND, 502, reason)
