"""What a line of a balancer's log comes to, whoever wrote it."""

from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}


@dataclass(frozen=True, slots=True)
class Request:
    """A request, or in ``tcp`` mode a connection."""

    when: int | None
    """When it was placed, in seconds on the wall clock of the log: its time zone does not matter here."""
    target: bytes | None
    """The request target as it was sent; None if the log does not have it whole."""
    client: str
    """The client's address; empty if the log does not say."""
    group: str | None
    """What that balancer calls the group of servers; None if the log does not say."""
    servers: tuple[str, ...]
    """Names or addresses of the servers that were tried, the last one served; empty if there was none."""
    served: bool = True
    """The last one could be reached."""
    redispatched: bool = False
    """It was placed by the ring first, and then sent to another server than that."""
    by_cookie: bool = False
    """A cookie chose the server."""
    fields: bytes = b""
    """Header lines of the request that the log has, each with its CRLF."""


@dataclass(frozen=True, slots=True)
class Change:
    """A server has gone or come back."""

    when: int
    group: str
    server: str
    up: bool


Parse = Callable[[bytes], Request | Change | None]
"""From a line without its end to what it says; None if it says neither."""


@lru_cache(maxsize=1024)
def seconds(date: bytes) -> int:
    """``22/Nov/2026:13:15:07`` as seconds. Raises ``ValueError`` for anything else."""
    try:
        day, month, rest = date.split(b"/")
        year, hour, minute, second = map(int, rest.split(b":"))
        return timegm((year, _MONTHS[month], int(day), hour, minute, second))
    except KeyError:
        raise ValueError("there is no such month") from None


@lru_cache(maxsize=1024)
def iso_seconds(date: bytes) -> int:
    """``2026-11-22T13:15:07``, and whatever follows, as seconds. Raises ``ValueError`` for anything else."""
    year, month, day = map(int, date[:10].split(b"-"))
    hour, minute, second = map(int, date[11:19].split(b":"))
    return timegm((year, month, day, hour, minute, second))


@lru_cache(maxsize=1024)
def syslog_seconds(date: bytes, year: int) -> int:
    """``Nov 22 13:15:07`` in a year it does not name, as seconds. Raises ``ValueError`` for anything else."""
    month, day, clock = date.split()
    return seconds(b"/".join((day, month, b"%d:%b" % (year, clock))))


def request_target(line: bytes) -> bytes | None:
    """The target of ``GET /?token=x HTTP/1.1``; None if the line was cut off or is none."""
    words = line.split(b" ")
    return words[1] if len(words) == 3 and words[2].startswith(b"HTTP/") else None
