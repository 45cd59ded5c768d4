"""The proxy's own answers: short, plain, and never quoting what the client sent."""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from balancer.http.websocket import REFUSAL_FIELDS

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_RETRYABLE = (429, 503)


def reply(
    status: int, reason: str, *, head_only: bool = False, keep_alive: bool = False, retry_after: int = 1
) -> bytes:
    """Return a complete response. ``head_only`` answers a HEAD: with the length of the body, but without it.

    ``retry_after`` is in seconds, for statuses after which the client may try again.
    """
    phrase = _PHRASES[status]
    body = f"{status} {phrase}: {reason}\n".encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Date: {_date(int(time.time()))}\r\n"
        "Cache-Control: no-store\r\n"
    ).encode()
    fields = b"Retry-After: %d\r\n" % retry_after if status in _RETRYABLE else REFUSAL_FIELDS.get(status, b"")
    connection = b"" if keep_alive else b"Connection: close\r\n"
    return head + fields + connection + b"\r\n" + (b"" if head_only else body)


@lru_cache(1)
def _date(seconds: int) -> str:
    """Return the value of Date (RFC 9110, 6.6.1)."""
    return formatdate(seconds, usegmt=True)
