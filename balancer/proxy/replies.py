"""The proxy's own answers: short, plain, and never quoting what the client sent."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from balancer.config.settings import ErrorPage
from balancer.http.websocket import REFUSAL_FIELDS

_TEXT: Final = "text/plain; charset=utf-8"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_UNREGISTERED: Final = "Error"
"""For statuses without a registered reason, such as nginx's 444."""
_RETRYABLE: Final = (429, 503)
_BODILESS: Final = (204, 304)


def reply(
    status: int,
    reason: str,
    pages: Mapping[int, ErrorPage],
    *,
    head_only: bool = False,
    keep_alive: bool = False,
    retry_after: int = 1,
    refused: str = "",
) -> bytes:
    """Return a complete response: one of the ``pages``, or a text with the ``reason``.

    ``head_only`` answers a HEAD: with the length of the body, but without it. ``retry_after`` is in seconds, for
    statuses after which the client may try again; ``refused`` tells a balancer in front that it may ask another.
    """
    more = b"Retry-After: %d\r\n" % retry_after if status in _RETRYABLE else REFUSAL_FIELDS.get(status, b"")
    tier = f"Balancer-Refused: {refused}\r\n".encode() if refused else b""
    page = pages.get(status)
    if page is not None:
        fields = page.fields if b"retry-after:" in page.fields.lower() else page.fields + more
        return own_response(page.status, "", page.body, fields + tier, head_only=head_only, keep_alive=keep_alive)
    body = f"{status} {_phrase(status)}: {reason}\n".encode()
    fields = b"Cache-Control: no-store\r\n" + more + tier
    return own_response(status, _TEXT, body, fields, head_only=head_only, keep_alive=keep_alive)


def own_response(
    status: int, content_type: str, body: bytes, fields: bytes, *, head_only: bool, keep_alive: bool
) -> bytes:
    """Return a complete response with these ``fields``, each line with its CRLF; ``head_only`` is as in ``reply``.

    A ``content_type`` that is empty is not written, nor are the body and length of a status that has none (RFC 9110,
    15.3.5 and 15.4.5).
    """
    bodiless = status in _BODILESS
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    length = "" if bodiless else f"Content-Length: {len(body)}\r\n"
    date = f"Date: {_date(int(time.time()))}\r\n"
    head = f"HTTP/1.1 {status} {_phrase(status)}\r\n{kind}{length}{date}".encode()
    connection = b"" if keep_alive else b"Connection: close\r\n"
    return head + fields + connection + b"\r\n" + (b"" if head_only or bodiless else body)


def _phrase(status: int) -> str:
    return _PHRASES.get(status, _UNREGISTERED)


@lru_cache(1)
def _date(seconds: int) -> str:
    """Return the value of Date (RFC 9110, 6.6.1)."""
    return formatdate(seconds, usegmt=True)
