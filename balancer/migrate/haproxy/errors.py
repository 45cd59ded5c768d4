"""Error pages: ``errorfile``, ``errorfiles`` with sections ``http-errors``, ``http-error`` (haproxy 2.6, section 4.2).

haproxy takes the page of the backend, if a request has got so far, else that of the frontend. Here they belong to
listeners, so those of its backends count where they agree.
"""

from collections.abc import Mapping, Sequence

from balancer.config.scalars import shown
from balancer.migrate.haproxy.bind import Bases
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.source import HaproxySection
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Effect, Notes

Pages = Mapping[str, tuple[str, Line]]
"""The file of each status, and the line that names it."""
KEYWORDS = ("errorfile", "errorfiles", "http-error")
_OF_BACKENDS = ("500", "502", "503", "504")
"""Statuses that requests mostly get when they have reached a backend."""
_NOTHING = "/dev/null"
_WITHOUT_EFFECT = ("200", "408", "400")
"""Statuses that are given to clients that have sent nothing, or to monitors."""


def named_pages(sections: Sequence[HaproxySection]) -> dict[str, dict[str, Line]]:
    """Return the lines of the sections ``http-errors`` by name and status."""
    return {
        section.head.words[1]: {line.words[1]: line for line in section.lines if _is_file(line)}
        for section in sections
        if section.kind == "http-errors" and len(section.head.words) > 1
    }


def pages(proxy: Proxy, named: Mapping[str, Mapping[str, Line]], bases: Bases, notes: Notes) -> Pages:
    """Return the error pages of a proxy; report those that are no files."""
    found: dict[str, tuple[str, Line]] = {}
    for line in (*proxy.inherited, *proxy.own):
        if line.words[0] == "errorfiles" and len(line.words) > 1:
            if line.words[1] not in named:
                message = f"no section http-errors is named {shown(line.words[1])}"
                notes.problem(line.file, line.number, "errorfiles", message)
                continue
            for status, each in named[line.words[1]].items():
                if not line.words[2:] or status in line.words[2:]:
                    _add(found, status, each.words[2], each, bases, notes)
        elif _is_file(line):
            _add(found, line.words[1], line.words[2], line, bases, notes)
        elif line.words[0] == "http-error":
            _http_error(found, line, bases, notes)
        elif line.words[0] == "errorfile":
            notes.problem(line.file, line.number, "errorfile", "expected a status and a file")
    return found


def listener_pages(own: Pages, behind: Sequence[Pages], notes: Notes) -> dict[str, str]:
    """Return the pages of a listener: its ``own``, and those of the backends ``behind`` it that agree."""
    chosen = {status: file for status, (file, _) in own.items()}
    for status in sorted({status for each in behind for status in each}):
        files = {each[status][0] if status in each else None for each in behind}
        if len(files) == 1 and (status in _OF_BACKENDS or status not in own):
            chosen[status] = next(filter(None, files))
        for each in behind:
            file, line = each.get(status, ("", None))
            if line is not None and chosen.get(status) != file:
                message = "the page of one backend: here a listener has one page of each status for all of its pools"
                notes.remark(line.file, line.number, "errorfile", message)
    for status, (file, line) in own.items():
        if chosen[status] != file:
            message = f"the page of the backends is sent for {status}, also where none was reached"
            notes.remark(line.file, line.number, "errorfile", message, Effect.CHANGED)
    return dict(sorted(chosen.items()))


def _is_file(line: Line) -> bool:
    return line.words[0] == "errorfile" and len(line.words) > 2


def _add(found: dict[str, tuple[str, Line]], status: str, file: str, line: Line, bases: Bases, notes: Notes) -> None:
    if not (status.isascii() and status.isdigit() and 200 <= int(status) <= 599):
        notes.problem(line.file, line.number, line.words[0], f"{shown(status)} is not a status")
    elif file == _NOTHING:
        found.pop(status, None)
        effect = Effect.NONE if status in _WITHOUT_EFFECT else Effect.TRAFFIC
        message = f"closed the connection without an answer: here the answer is {status}"
        notes.remark(line.file, line.number, line.words[0], message, effect)
    elif status < "400":
        message = f"the text of answers with {status}: only errors have pages"
        notes.remark(line.file, line.number, line.words[0], message)
    else:
        found[status] = (str((bases.files / file).absolute()), line)


def _http_error(found: dict[str, tuple[str, Line]], line: Line, bases: Bases, notes: Notes) -> None:
    options = dict(zip(line.words[1::2], line.words[2::2], strict=False))
    if "status" in options and "errorfile" in options:
        _add(found, options["status"], options["errorfile"], line, bases, notes)
    else:
        message = "an answer without a file of its own: write it into a file and list that in listener.error_pages"
        notes.remark(line.file, line.number, "http-error", message)
