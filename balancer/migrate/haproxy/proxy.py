"""Proxies with everything they inherit: the lines of ``defaults`` come before their own, and the last one counts.

A section without ``from`` inherits from the nearest ``defaults`` above it, named or not; a ``defaults``
section starts empty unless it has a ``from`` itself (haproxy 2.6, sections 4 and 4.1).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from balancer.config.scalars import shown
from balancer.migrate.haproxy.known_proxy import KEYWORDS, OBSOLETE, RENAMED
from balancer.migrate.haproxy.source import PROXIES, HaproxySection
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Effect, Notes

_NOT_INHERITED = ("bind", "server", "server-template", "use_backend")
_WHOLE_FIELD = re.compile(r"\^([A-Za-z0-9-]+):(?:\s?\.\*)?")
_FIRST_WORDS = {keyword.split()[0] for keyword in KEYWORDS}


@dataclass
class Proxy:
    """A frontend, a backend, or both in one (``listen``)."""

    kind: str
    name: str
    head: Line
    inherited: Sequence[Line]
    own: Sequence[Line]

    @property
    def serves(self) -> bool:
        """Return whether it accepts connections."""
        return self.kind != "backend"

    @property
    def balances(self) -> bool:
        """Return whether it has servers."""
        return self.kind != "frontend"

    @property
    def mode(self) -> str:
        """Return the mode; ``tcp`` is haproxy's default."""
        line = self.last("mode")
        return line.words[1] if line and len(line.words) > 1 else "tcp"

    @property
    def disabled(self) -> bool:
        """Return whether it is disabled."""
        words = [line.words[0] for line in (*self.inherited, *self.own)]
        return [word for word in words if word in ("disabled", "enabled")][-1:] == ["disabled"]

    def all(self, keyword: str) -> list[Line]:
        """Return the lines that begin with a keyword, inherited ones first."""
        wanted = tuple(keyword.split())
        return [line for line in (*self.inherited, *self.own) if line.words[: len(wanted)] == wanted]

    def last(self, keyword: str) -> Line | None:
        """Return the last line with a keyword, which counts; ``no`` in front of a later one removes it."""
        found = None
        wanted = tuple(keyword.split())
        for line in (*self.inherited, *self.own):
            if line.words[: len(wanted)] == wanted:
                found = line
            elif line.words[0] in ("no", "default") and line.words[1 : len(wanted) + 1] == wanted:
                found = None
        return found


def proxies(sections: Sequence[HaproxySection], notes: Notes) -> list[Proxy]:
    """Return the proxies in order, with known keywords only."""
    found: list[Proxy] = []
    current = _Defaults(HaproxySection("defaults", "", Line("", 0, ())), [])
    every: list[_Defaults] = []
    for section in sections:
        if section.kind not in (*PROXIES, "defaults"):
            continue
        base = current if section.kind != "defaults" else None
        if section.base is not None:
            base = next((each for each in reversed(every) if each.section.name == section.base), None)
            if base is None:
                _problem(notes, section.head, f"no defaults section above is named {shown(section.base)}")
        if base is not None:
            base.used = True
        inherited = base.lines if base is not None else []
        lines = list(_known(section, notes))
        if section.kind == "defaults":
            current = _Defaults(section, [*inherited, *lines])
            every.append(current)
        else:
            proxy = Proxy(section.kind, section.name, section.head, inherited, lines)
            _unique(proxy, found, notes)
            found.append(proxy)
    for each in every:
        if not each.used:
            head = each.section.head
            notes.remark(head.file, head.number, "defaults", "nothing inherits from this section: not converted")
    return found


@dataclass
class _Defaults:
    section: HaproxySection
    lines: list[Line]
    used: bool = False


def keyword_of(line: Line) -> str | None:
    """Return the longest keyword that a line of a proxy begins with; None if haproxy has no such keyword."""
    words = line.words[1:] if line.words[0] in ("no", "default") else line.words
    for length in (2, 1):
        if (keyword := " ".join(words[:length])) in KEYWORDS:
            return keyword
    return None


def _known(section: HaproxySection, notes: Notes) -> Iterator[Line]:
    for written in section.lines:
        line = _renamed(written, notes)
        keyword = keyword_of(line)
        old = next((old for old in (" ".join(line.words[:2]), line.words[0]) if old in OBSOLETE), None)
        if old is not None:
            _problem(notes, line, f"haproxy no longer supports {old}: use {OBSOLETE[old]}")
        elif keyword is None:
            known = KEYWORDS if line.words[0] in _FIRST_WORDS else _FIRST_WORDS
            given = " ".join(line.words[:2]) if line.words[0] in _FIRST_WORDS else line.words[0]
            close = get_close_matches(given, known, 1)
            hint = f"; did you mean {shown(close[0])}?" if close else ""
            _problem(notes, line, f"{shown(given)} is not a keyword of a {section.kind} section{hint}")
        elif section.kind == "defaults" and keyword in _NOT_INHERITED:
            _problem(notes, line, f"{keyword} is not allowed in a defaults section")
        else:
            yield line


def _renamed(line: Line, notes: Notes) -> Line:
    """Return a line in the spelling that haproxy has now."""
    if (words := _of_fields(line.words)) is not None:
        message = f"old spelling of {' '.join(words[:2])}: converted"
        notes.remark(line.file, line.number, line.words[0], message, Effect.CHANGED)
        return replace(line, words=words)
    for length in (2, 1):
        old = " ".join(line.words[:length])
        if old in RENAMED and len(line.words) >= length:
            notes.remark(line.file, line.number, old, f"old spelling of {RENAMED[old]}: converted", Effect.CHANGED)
            return replace(line, words=(*RENAMED[old].split(), *line.words[length:]))
    return line


def _of_fields(words: Sequence[str]) -> tuple[str, ...] | None:
    """Return ``reqadd`` and its like, of old versions, in today's spelling; None for all else."""
    if len(words) < 2 or words[0] not in OBSOLETE:
        return None
    name, colon, value = words[1].partition(":")
    if words[0] in ("reqadd", "rspadd") and colon:
        return (*OBSOLETE[words[0]].split(), name.strip(), value.strip().replace("%", "%%"), *words[2:])
    if words[0] in ("reqdel", "reqidel", "rspdel", "rspidel") and (whole := _WHOLE_FIELD.fullmatch(words[1])):
        return (*OBSOLETE[words[0]].split(), whole[1], *words[2:])
    return None


def _unique(proxy: Proxy, others: Sequence[Proxy], notes: Notes) -> None:
    for other in others:
        both = (proxy.serves and other.serves) or (proxy.balances and other.balances)
        if other.name == proxy.name and both:
            _problem(notes, proxy.head, f"{shown(proxy.name)} is already used by the {other.kind} in line {other.head}")


def _problem(notes: Notes, line: Line, message: str) -> None:
    notes.problem(line.file, line.number, "", message)
