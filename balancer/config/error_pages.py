"""Read error pages: files that clients get in place of the daemon's own short texts.

A file is the body of the response, its type told by its name; or, as haproxy's, a whole response with status line and
header fields.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from balancer.config.certificates import file_name, read_file
from balancer.config.field_text import is_reserved
from balancer.config.finding import Finding, Key
from balancer.config.settings import ErrorPage

MAX_BYTES = 65536
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".xml": "application/xml",
}
_TEXT = "text/plain; charset=utf-8"
_HEAD = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: [\t -~\x80-\xff]*)?\r?\n((?:[^\r\n]+\r?\n)*)\r?\n")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t -~\x80-\xff]*?)[\t ]*\r?\n")
_OF_DAEMON = ("date",)


def read_pages(at: Key, files: Mapping[str, Path], findings: list[Finding]) -> dict[int, ErrorPage]:
    """Return the page of each status. A file that cannot be used is warned of: clients get the daemon's text."""
    pages = {}
    for status, path in files.items():
        try:
            if path.is_file() and path.stat().st_size > MAX_BYTES:
                raise ValueError(f"{file_name(path)} is longer than 64 KiB")
            pages[int(status)] = parse_page(path, read_file(path), int(status))
        except ValueError as error:
            findings.append(Finding((*at, status), f"{error}; clients get the daemon's own text", warning=True))
    return pages


def parse_page(path: Path, data: bytes, status: int) -> ErrorPage:
    """Return the response that is in a file. Raise ``ValueError`` that names the file and what is wrong with it."""
    if not data.startswith(b"HTTP/"):
        kind = _TYPES.get(path.suffix.lower(), _TEXT)
        return ErrorPage(status, f"Content-Type: {kind}\r\nCache-Control: no-store\r\n".encode(), data)
    head = _HEAD.match(data)
    if head is None:
        raise ValueError(f"{file_name(path)} begins with HTTP/, but is not a whole response")
    fields = b""
    for line in head[2].splitlines(keepends=True):
        field = _FIELD.fullmatch(line)
        if field is None:
            raise ValueError(f"{file_name(path)} has a malformed header field")
        name = field[1].decode()
        if not is_reserved(name) and name.lower() not in _OF_DAEMON:
            fields += field[1] + b": " + field[2] + b"\r\n"
    return ErrorPage(int(head[1]), fields, data[head.end() :])
