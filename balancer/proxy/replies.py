"""The proxy's own answers: short, plain, and never quoting what the client sent."""

from http import HTTPStatus

from balancer.http.websocket import REFUSAL_FIELDS

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_FIELDS = {**REFUSAL_FIELDS, 503: b"Retry-After: 1\r\n"}


def reply(status: int, reason: str, *, head_only: bool = False, keep_alive: bool = False) -> bytes:
    """A whole response. ``head_only`` answers a HEAD: the length is told, the body left out."""
    phrase = _PHRASES[status]
    body = f"{status} {phrase}: {reason}\n".encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
    ).encode()
    connection = b"" if keep_alive else b"Connection: close\r\n"
    return head + _FIELDS.get(status, b"") + connection + b"\r\n" + (b"" if head_only else body)
