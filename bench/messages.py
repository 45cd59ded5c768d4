"""The bytes that clients and backends exchange: requests, responses, WebSocket frames.

There are many users, each with a token, so that every backend gets some. The path selects the backend's response.
"""

import base64
import hashlib
import time

from balancer.config.key_file import derive
from balancer.http.seal import Seals

_TOKENS = [hashlib.sha256(b"user %d" % user).hexdigest() for user in range(2000)]
_FEW = 64

COOKIE = "ide_user"
SECRET = hashlib.sha256(b"the secret of the benchmark").digest()
_SEALS = Seals([derive(SECRET, "remember")])

MEBIBYTE = bytes(2**20)
BULK = 100
"""Mebibytes of a download or upload."""
POSTED = b"q" * 16384
HELLO = b"hello from the backend behind it\n"

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(HELLO), HELLO)
OK_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (
    b"400\r\n%b\r\n" % (b"c" * 1024) * 8
)
OK_BULK = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % (BULK * 2**20)

_HOST = "Host: ide.example\r\n"
_BROWSER = (
    _HOST
    + "User-Agent: Mozilla/5.0 (X11; Ubuntu; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 "
    "Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://ide.example/courses/42\r\n"
    "Cookie: session=7b1f0c8e5d2a4b6f9c3e8d7a6b5c4d3e; theme=dark; layout=terminal-right; last=exercise-1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Priority: u=0, i\r\n"
)
"""Twelve header fields; with the request line, 700 bytes."""
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_UPGRADE = _HOST + (
    f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n"
)
_PING, _PONG = 0x89, 0x8A
"""First bytes of control frames (RFC 6455, 5.2)."""
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def tokens(kind: str) -> list[str]:
    """Return the tokens of the users of this kind of traffic; ``many`` has enough for hundreds of backends."""
    return _TOKENS if kind == "many" else _TOKENS[:_FEW]


def request(kind: str, token: str) -> bytes:
    """Return the first bytes of a client for this kind of traffic: a request, without a bulk body."""
    match kind:
        case "browser":
            line, fields, body = "GET /ide", _BROWSER, b""
        case "cookie":
            kept = _SEALS.seal("ide", COOKIE.encode(), token.encode(), time.time()).decode()
            line, fields, body = "GET /ide", f"{_HOST}Cookie: theme=dark; {COOKIE}={kept}\r\n", b""
        case "post":
            line, fields, body = "POST /ide", f"{_HOST}Content-Length: {len(POSTED)}\r\n", POSTED
        case "chunked":
            line, fields, body = "GET /chunked", _HOST, b""
        case "download":
            line, fields, body = "GET /bulk", _HOST, b""
        case "upload":
            line, fields, body = "POST /ide", f"{_HOST}Content-Length: {BULK * 2**20}\r\n", b""
        case "echo":
            line, fields, body = "GET /ide", _UPGRADE, b""
        case _:
            line, fields, body = "GET /ide", _HOST, b""
    return f"{line}?token={token} HTTP/1.1\r\n{fields}\r\n".encode() + body


def switching(head: bytes) -> bytes:
    """Return the backend's response to the WebSocket handshake in ``head`` (RFC 6455, 4.2.2)."""
    key = field(head, b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + _GUID.encode()).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


def field(head: bytes, name: bytes) -> bytes:
    """Return the value of the header field ``name`` (lower case), or empty."""
    _, _, rest = head.lower().partition(b"\r\n%b:" % name)
    start = len(head) - len(rest)
    return head[start:].partition(b"\r\n")[0].strip()


def frame(payload: bytes, *, masked: bool) -> bytes:
    """Encode a binary frame (RFC 6455, 5.2). The mask consists of zeros, so that unmasking is a copy."""
    flag = 0x80 if masked else 0
    size = bytes((flag | len(payload),)) if len(payload) < 126 else bytes((flag | 126, *divmod(len(payload), 256)))
    return b"\x82" + size + bytes(4 if masked else 0) + payload


def unmasked(received: bytearray) -> bytes:
    """Remove complete frames from ``received``; return what a server sends to echo them, with pongs for pings."""
    answer = b""
    while len(received) > 3:
        size = received[1] & 127
        start = 2
        if size == 126:
            size = int.from_bytes(received[2:4])
            start = 4
        end = start + 4 + size
        if len(received) < end:
            break
        opcode = _PONG if received[0] == _PING else received[0]
        payload = received[start + 4 : end]
        if any(mask := received[start : start + 4]):  # not our own clients, whose masks are zeros
            payload = bytearray(byte ^ mask[number % 4] for number, byte in enumerate(payload))
        answer += bytes((opcode, received[1] & 127)) + received[2:start] + payload
        del received[:end]
    return answer
