"""Read configuration files as haproxy does: sections of lines of words, with variables and conditions resolved.

Several files make one configuration, in the order given; a directory stands for its ``*.cfg``, sorted by name. There
are no includes. Variables that ``global`` sets apply to the lines after it, in further files too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.haproxy.condition import KEYWORDS, Blocks
from balancer.migrate.haproxy.words import BadLine, Line, split
from balancer.migrate.outcome import Effect, Notes

PROXIES = ("frontend", "backend", "listen")
SECTIONS = {
    "acme": "certificates by ACME: let an ACME client write the files of listener.tls.certificates",
    "cache": "caches answers: let the backends or a CDN cache",
    "crt-store": "named certificates: list their files in listener.tls.certificates",
    "fcgi-app": "FastCGI is not supported: put an HTTP server in front of the application",
    "log-forward": "relays syslog: use the syslog daemon",
    "log-profile": "format of log lines: the access log is JSON with all fields",
    "mailers": "mails about state changes: alert on the metrics",
    "peers": "shares stick-tables: not needed, the ring places users and state_dir keeps pins",
    "program": "runs programs: use systemd units",
    "resolvers": "resolves names of servers at run time: names are resolved once, on import",
    "ring": "buffers log lines: the access log goes to a file or to standard output",
    "traces": "debugging traces: use `balancer ring trace` and the access log",
    "userlist": "passwords for HTTP authentication: let the backends authenticate",
}
"""Sections that are not converted, and what to do instead."""
_ERRORS = "http-errors"
_ENVIRONMENT = ("setenv", "presetenv", "unsetenv", "resetenv")


@dataclass
class HaproxySection:
    """A section: ``kind`` is its keyword, ``base`` the name after ``from``."""

    kind: str
    name: str
    head: Line
    base: str | None = None
    lines: list[Line] = field(default_factory=list)


def read(paths: Sequence[Path], environment: Mapping[str, str], notes: Notes) -> list[HaproxySection]:
    """Return the sections of all files in order. Errors go to ``notes``."""
    reader = _HaproxyReader(dict(environment), notes)
    for path in paths:
        reader.read(path)
    return reader.sections


class _HaproxyReader:
    def __init__(self, environment: dict[str, str], notes: Notes) -> None:
        self.sections: list[HaproxySection] = []
        self._environment = environment
        self._notes = notes
        self._unset: set[str] = set()

    def read(self, path: Path) -> None:
        try:
            if path.is_dir():
                files = sorted(each for each in path.glob("[!.]*.cfg") if each.is_file())
                if not files:
                    self._notes.problem(str(path), None, "", "this directory has no *.cfg files")
                for file in files:
                    self._file(file)
            else:
                self._file(path)
        except OSError as error:
            self._notes.problem(error.filename or str(path), None, "", f"cannot be read: {error.strerror}")

    def _file(self, path: Path) -> None:
        name, data = str(path), path.read_bytes()
        if b"\0" in data:
            at = data.count(b"\n", 0, data.index(b"\0")) + 1
            self._notes.problem(name, at, "", "contains a NUL byte: this is not a text file")
            return
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        if lines[-1]:
            message = "the last line has no line end: the file may be truncated; complete it"
            self._notes.problem(name, len(lines), "", message)
        self.sections.append(
            HaproxySection("", "", Line(name, 0, ()))
        )  # a file never continues a section of the previous one
        blocks = Blocks(self._environment, self._notes)
        for number, text in enumerate(lines, 1):
            line = self._words(name, number, text, blocks.taken)
            if line is None:
                continue
            if line.words[0] in KEYWORDS:
                blocks.read(line)
            elif blocks.taken and not self._line(line):
                return
        blocks.end()

    def _words(self, file: str, number: int, text: str, counts: bool) -> Line | None:
        """Return the line, or None if it is empty or bad."""
        unset: set[str] = set()

        def variable(name: str, default: str | None) -> str:
            if name not in self._environment and default is None:
                unset.add(name)
            return self._environment.get(name, default or "")

        try:
            words = split(text, variable)
            "".join(words).encode()
        except BadLine as error:
            self._notes.problem(file, number, "", str(error))
            return None
        except UnicodeEncodeError:
            self._notes.problem(file, number, "", "is not UTF-8")
            return None
        for name in sorted(unset) if counts else ():
            message = f'the variable "{name}" is not set and counts as empty: set it for the import'
            self._notes.remark(file, number, words[0] if words else "", message)
        return Line(file, number, words) if words else None

    def _line(self, line: Line) -> bool:
        """Add a line to its section. Return False if it makes no sense to read on."""
        keyword, *arguments = line.words
        if keyword in ("global", "defaults", _ERRORS, *PROXIES, *SECTIONS):
            self._section(line, keyword, arguments)
        elif keyword in (".notice", ".warning", ".diag"):
            self._notes.remark(line.file, line.number, keyword, "is printed when haproxy starts: not converted")
        elif keyword == ".alert":
            self._notes.problem(line.file, line.number, keyword, "haproxy does not start with this line")
        elif not self.sections[-1].kind:
            close = get_close_matches(keyword, ["global", "defaults", *PROXIES], 1)
            hint = f"did you mean {close[0]}?" if close else "is this a configuration of haproxy?"
            message = f"{shown(keyword)} is outside of any section (global, defaults, frontend, ...); {hint}"
            self._notes.problem(line.file, line.number, "", message)
            return False
        else:
            section = self.sections[-1]
            section.lines.append(line)
            if section.kind == "global" and keyword in _ENVIRONMENT:
                self._set(keyword, arguments)
        return True

    def _section(self, line: Line, kind: str, arguments: list[str]) -> None:
        section = HaproxySection(kind, "", line)
        if kind in (*PROXIES, "defaults"):
            if arguments and (kind != "defaults" or arguments[0] != "from"):
                section.name = arguments.pop(0)
            if arguments[:1] == ["from"] and len(arguments) > 1:
                section.base, arguments = arguments[1], arguments[2:]
            if kind != "defaults" and not section.name:
                self._notes.problem(line.file, line.number, kind, "a name is missing")
            if arguments and kind in ("frontend", "listen") and ":" in arguments[0]:
                self._notes.remark(line.file, line.number, kind, "old spelling of bind: converted", Effect.CHANGED)
                section.lines.append(Line(line.file, line.number, ("bind", *arguments)))
            elif arguments:
                message = f"{shown(arguments[0])} is unexpected here (addresses belong on a bind line)"
                self._notes.problem(line.file, line.number, kind, message)
        self.sections.append(section)

    def _set(self, keyword: str, arguments: list[str]) -> None:
        if keyword == "setenv" and len(arguments) == 2:
            self._environment[arguments[0]] = arguments[1]
        elif keyword == "presetenv" and len(arguments) == 2:
            self._environment.setdefault(arguments[0], arguments[1])
        elif keyword == "unsetenv":
            for name in arguments:
                self._environment.pop(name, None)
        elif keyword == "resetenv":
            for name in self._environment.keys() - set(arguments):
                del self._environment[name]
