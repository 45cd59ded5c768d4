"""The errors that cross layers: what went wrong with traffic, and what is wrong with input.

``ProxyError`` carries what the proxy loop needs to know and nothing else: whose fault it was, whether the request may
be tried again, what to tell the client, and one word for the log (the vocabulary is pingora's ``ErrorSource`` and
``RetryType``).
"""

import errno
from dataclasses import dataclass
from enum import StrEnum

DISK_FULL = "the disk is full"
_DISK = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "the disk reports an input/output error",
    errno.EROFS: "the file system is read-only",
}


class Source(StrEnum):
    """Which side caused an error."""

    CLIENT = "client"
    BACKEND = "backend"
    INTERNAL = "internal"


class Retry(StrEnum):
    """May the request be sent to a backend again?"""

    NEVER = "never"
    UNANSWERED = "unanswered"
    """If it may be sent twice: the backend has had it, or a part of it, and said nothing (RFC 9110, 9.2.2)."""
    ELSEWHERE = "elsewhere"
    """The same, but another backend has to do: this one took too long over it."""
    ALWAYS = "always"


class ProxyError(Exception):
    """A request or connection that cannot go on.

    ``status`` is the HTTP status the client gets while nothing has been sent to it; ``reason`` is a short phrase in
    plain words for the log and the reply, never holding bytes the client sent.
    """

    retry_after = 1
    """Seconds after which the client may come again, if ``status`` is 429 or 503."""
    refused = ""
    """What the balancer in front is told, one of ``http.head.REFUSALS``, if no backend could take the request."""

    def __init__(self, source: Source, status: int, reason: str, retry: Retry = Retry.NEVER) -> None:
        super().__init__(reason)
        self.source = source
        self.status = status
        self.reason = reason
        self.retry = retry


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file, as an operator reads it: where, which key, what, and what to do."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigError(Exception):
    """A configuration that cannot be used, with every problem found in it, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Refused(Exception):
    """An operator's request, refused: the message says what was wrong and what to do; nothing changed.

    ``key`` leads to the value in the configuration that it is about, if there is one.
    """

    def __init__(self, message: str, key: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.key = key


class InUse(Refused):
    """Refused because another program has what is asked for; it may let go of it in a moment."""


def disk_reason(error: OSError) -> str:
    """Return why a file cannot be read or written, in words for operators."""
    return _DISK.get(error.errno or 0) or error.strerror or str(error)
