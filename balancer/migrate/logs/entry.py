"""What a line of another balancer's log says, in one form for all of them."""

from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request; in ``tcp`` mode a connection."""

    when: int | None
    """When it was placed, in seconds of the log's local time; the time zone does not matter here."""
    target: bytes | None
    """The request target as sent; None if the log does not contain it completely."""
    client: str
    """The client's address; empty if the log does not say."""
    group: str | None
    """That balancer's name for the group of servers; None if the log does not say."""
    servers: tuple[str, ...]
    """Names or addresses of the servers tried, in order; the last one served. Empty if none was tried."""
    served: bool = True
    """Whether the last one could be reached."""
    redispatched: bool = False
    """Whether it was placed by the ring and then sent to another server."""
    by_cookie: bool = False
    """Whether a cookie chose the server."""
    fields: bytes = b""
    """Header lines of the request that are in the log, each with its CRLF."""


@dataclass(frozen=True, slots=True)
class Change:
    """A server went down or came up."""

    when: int
    group: str
    server: str
    up: bool


Parse = Callable[[bytes], LoggedRequest | Change | None]
"""Parses a line without its end; returns None if it is neither a request nor a change."""


@lru_cache(maxsize=1024)
def seconds(date: bytes) -> int:
    """Return ``22/Nov/2026:13:15:07`` in seconds. Raise ``ValueError`` for anything else."""
    try:
        day, month, rest = date.split(b"/")
        year, hour, minute, second = map(int, rest.split(b":"))
        return timegm((year, _MONTHS[month], int(day), hour, minute, second))
    except KeyError:
        raise ValueError("there is no such month") from None


@lru_cache(maxsize=1024)
def iso_seconds(date: bytes) -> int:
    """Return ``2026-11-22T13:15:07``, whatever follows it, in seconds. Raise ``ValueError`` for anything else."""
    year, month, day = map(int, date[:10].split(b"-"))
    hour, minute, second = map(int, date[11:19].split(b":"))
    return timegm((year, month, day, hour, minute, second))


@lru_cache(maxsize=1024)
def syslog_seconds(date: bytes, year: int) -> int:
    """Return ``Nov 22 13:15:07`` of the given year in seconds. Raise ``ValueError`` for anything else."""
    month, day, clock = date.split()
    return seconds(b"/".join((day, month, b"%d:%b" % (year, clock))))


def request_target(line: bytes) -> bytes | None:
    """Return the target of ``GET /?token=x HTTP/1.1``; None if the line is truncated or no request line."""
    words = line.split(b" ")
    return words[1] if len(words) == 3 and words[2].startswith(b"HTTP/") else None
