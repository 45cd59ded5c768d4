"""What holds for the whole daemon: ``global``, and the timeouts and statistics pages of all proxies together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from balancer.config.model import MAX_CONNECTIONS
from balancer.config.scalars import shown
from balancer.migrate.haproxy.bind import OPTIONS, Bases
from balancer.migrate.haproxy.known_global import KEYWORDS, meaning
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import milliseconds, number, size
from balancer.migrate.haproxy.source import Section
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import Table, duration

_TIMEOUTS = (
    ("handshake", ("client-hs",), "both"),
    ("head", ("http-request",), "http"),
    ("connect", ("connect",), "both"),
    ("response", ("server",), "http"),
    ("idle", ("client",), "http"),
    ("tunnel_idle", ("tunnel", "client", "server"), "both"),
)
"""Our timeout, haproxy's in the order in which they take its place, and the modes in which they do."""
_SYSLOG = "sends lines to syslog: the access log is JSON on standard output, or in the file named in log.access"


@dataclass
class Globals:
    """What the section ``global`` says, with haproxy's defaults for what it does not."""

    lines: list[Line] = field(default_factory=list)

    def last(self, keyword: str) -> Line | None:
        """The line that holds."""
        return next((line for line in reversed(self.lines) if line.words[0] == keyword), None)

    def argument(self, keyword: str) -> str | None:
        """The word after a keyword."""
        line = self.last(keyword)
        return line.words[1] if line and len(line.words) > 1 else None


def global_section(sections: Sequence[Section], notes: Notes) -> Globals:
    """All ``global`` sections as one, as haproxy takes them; unknown keywords are problems."""
    found = Globals()
    for section in sections:
        for line in section.lines if section.kind == "global" else ():
            words = line.words[1:] if line.words[0] in ("no", "default") else line.words
            message = meaning(words[0]) if words else None
            if message is None:
                close = get_close_matches(words[0] if words else "", KEYWORDS, 1)
                hint = f"; did you mean {shown(close[0])}?" if close else ""
                text = f"{shown(words[0] if words else '')} is no keyword of a global section{hint}"
                notes.problem(line.file, line.number, "", text)
                continue
            if message:
                notes.remark(line.file, line.number, words[0], message)
            if words is line.words:
                found.lines.append(line)
    return found


def bases(settings: Globals, first: Path) -> Bases:
    """Where relative paths start; ``first`` is the first file of the configuration."""
    line = settings.last("default-path")
    files = Path()
    match line.words[1:] if line else ():
        case ["config", *_]:
            files = first.parent
        case ["parent", *_]:
            files = first.parent.parent
        case ["origin", folder, *_]:
            files = Path(folder)
    crt, ca = settings.argument("crt-base"), settings.argument("ca-base")
    return Bases(files, Path(crt) if crt else None, Path(ca) if ca else None)


def spread(settings: Globals, notes: Notes) -> int:
    """Percent by which checks are spread (``spread-checks``)."""
    line = settings.last("spread-checks")
    return (line and len(line.words) > 1 and _number(line, 0, 50, notes)) or 0


def tls_defaults(settings: Globals, notes: Notes) -> Sequence[str]:
    """The words of ``ssl-default-bind-options``; those nobody reads are told."""
    line = settings.last("ssl-default-bind-options")
    if line is None:
        return ()
    for word in line.words[1:]:
        if word in OPTIONS and (message := OPTIONS[word][1]):
            notes.remark(line.file, line.number, f"ssl-default-bind-options {word}", message)
    return line.words[1:]


def write_settings(top: Table, settings: Globals, proxies: Sequence[Proxy], page: int | None, notes: Notes) -> None:
    """Everything above the listeners; ``page`` is the port of haproxy's statistics page, if it has one to itself."""
    threads = settings.last("nbthread") or settings.last("nbproc")
    if threads is not None and len(threads.words) > 1:
        top.set("workers", _number(threads, 1, 256, notes), threads.words[0])
    top.set("state_dir", "/var/lib/balancer", "pins, drains and weights survive restarts here")
    _admin(top, settings, proxies, page, notes)
    _log(settings, proxies, notes)
    limits = top.table("limits")
    if (line := settings.last("maxconn")) and len(line.words) > 1:
        limits.set("max_connections", _number(line, 1, MAX_CONNECTIONS, notes), "maxconn")
    if (line := settings.last("tune.bufsize")) and len(line.words) > 1:
        try:
            limits.set("max_head_bytes", min(max(size(line.words[1]), 1024), 1 << 20), "tune.bufsize")
        except ValueError as error:
            notes.problem(line.file, line.number, line.words[0], str(error))
    _timeouts(top, settings, proxies, notes)


def _admin(top: Table, settings: Globals, proxies: Sequence[Proxy], page: int | None, notes: Notes) -> None:
    admin = top.table("admin")
    comment = "for balancer status, top, backend, ring and the other verbs"
    for line in settings.lines:
        if line.words[:2] == ("stats", "socket"):
            message = "the statistics socket: admin.socket has its place, with a protocol of its own (HTTP)"
            notes.remark(line.file, line.number, "stats socket", message)
        elif line.words[0] == "stats":
            notes.remark(line.file, line.number, "stats", "settings of the statistics socket: nothing to do")
    admin.set("socket", "/run/balancer/admin.sock", comment)
    pages = [proxy for proxy in proxies if proxy.serves and proxy.all("stats")]
    comment = "for /metrics, /healthz and /readyz, on this machine; elsewhere it needs a token_file"
    admin.set("listen", f"127.0.0.1:{page or 9600}", comment)
    told = "the statistics page: see balancer status and top; numbers are at /metrics of admin.listen"
    for proxy in pages:
        for line in proxy.all("stats"):
            notes.remark(line.file, line.number, " ".join(line.words[:2]), told)


def _log(settings: Globals, proxies: Sequence[Proxy], notes: Notes) -> None:
    for line in (*settings.lines, *(line for proxy in proxies for line in (*proxy.inherited, *proxy.own))):
        if line.words[0] == "log" and line.words[1:2] != ("global",):
            notes.remark(line.file, line.number, "log", _SYSLOG)


def _timeouts(top: Table, settings: Globals, proxies: Sequence[Proxy], notes: Notes) -> None:
    """One value for all proxies each: the longest, so that nobody is cut off sooner than before."""
    table = top.table("timeouts", "of all sections the longest: there is one value for the whole daemon")
    decided: set[Line] = set()
    shorter: dict[Line, str] = {}
    for ours, theirs, mode in _TIMEOUTS:
        chosen: dict[Line, int] = {}
        for proxy in proxies:
            given = _timeouts_of(proxy, theirs, notes) if mode in ("both", proxy.mode) else {}
            chosen.update(given)
        if not chosen:
            continue
        longest = max(chosen.values())
        name = next(line.words[1] for line, value in chosen.items() if value == longest)
        table.set(ours, duration(longest), f"timeout {name}")
        for line, value in chosen.items():
            if value == longest:
                decided.add(line)
            else:
                shorter[line] = f"the longest of all sections holds, {duration(longest)} (timeouts.{ours})"
    for line, message in shorter.items():
        if line not in decided:
            notes.remark(line.file, line.number, " ".join(line.words[:2]), message)
    for keyword, key in (("hard-stop-after", "drain"), ("close-spread-time", "close_spread")):
        ending = settings.last(keyword)
        if ending is not None and len(ending.words) > 1 and (given_time := _duration(ending, notes, 1)) is not None:
            table.set(key, duration(given_time), keyword)


def _timeouts_of(proxy: Proxy, names: Sequence[str], notes: Notes) -> dict[Line, int]:
    """The lines that decide in this proxy: that of the first name, or those of the others in its absence."""
    lines = [line for name in names if (line := proxy.last(f"timeout {name}")) and len(line.words) > 2]
    decisive = [line for line in lines if line.words[1] == names[0]] or lines
    return {line: value for line in decisive if (value := _duration(line, notes)) is not None}


def _duration(line: Line, notes: Notes, at: int = 2) -> int | None:
    try:
        return milliseconds(line.words[at])
    except ValueError as error:
        notes.problem(line.file, line.number, " ".join(line.words[:at]), str(error))
        return None


def _number(line: Line, least: int, most: int, notes: Notes) -> int | None:
    try:
        return min(number(line.words[1], least, 2**31 - 1), most)
    except ValueError as error:
        notes.problem(line.file, line.number, line.words[0], str(error))
        return None
