"""Settings of the whole daemon: ``global``, and the timeouts and statistics pages of all proxies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from balancer.config.scalars import shown
from balancer.config.section import MAX_CONNECTIONS
from balancer.migrate.haproxy.bind import Bases
from balancer.migrate.haproxy.known_bind import OPTIONS
from balancer.migrate.haproxy.known_bind import effect as effect_of_bind
from balancer.migrate.haproxy.known_global import KEYWORDS, effect, meaning
from balancer.migrate.haproxy.logging import write_log
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import number, size, timeout
from balancer.migrate.haproxy.source import HaproxySection
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Effect, Notes, Surroundings
from balancer.migrate.toml import TomlTable, duration

_TIMEOUTS = (
    ("handshake", (("client-hs",),), "both"),
    ("head", (("http-request",),), "http"),
    ("connect", (("connect",),), "both"),
    ("response", (("server",),), "http"),
    ("idle", (("client",),), "http"),
    ("keep_alive", (("http-keep-alive",), ("http-request",), ("client",)), "http"),
    ("tunnel_idle", (("tunnel",), ("client", "server")), "both"),
)
"""Our timeout, haproxy's in order of precedence, and the modes in which they apply."""


@dataclass
class Globals:
    """The section ``global`` with haproxy's defaults."""

    lines: list[Line] = field(default_factory=list)

    def last(self, keyword: str) -> Line | None:
        """Return the last line with this keyword, which counts."""
        return next((line for line in reversed(self.lines) if line.words[0] == keyword), None)

    def argument(self, keyword: str) -> str | None:
        """Return the word after a keyword."""
        line = self.last(keyword)
        return line.words[1] if line and len(line.words) > 1 else None


def global_section(sections: Sequence[HaproxySection], notes: Notes) -> Globals:
    """Merge all ``global`` sections, as haproxy does. Unknown keywords are errors."""
    found = Globals()
    for section in sections:
        for line in section.lines if section.kind == "global" else ():
            words = line.words[1:] if line.words[0] in ("no", "default") else line.words
            message = meaning(words[0]) if words else None
            if message is None:
                close = get_close_matches(words[0] if words else "", KEYWORDS, 1)
                hint = f"; did you mean {shown(close[0])}?" if close else ""
                text = f"{shown(words[0] if words else '')} is not a keyword of global{hint}"
                notes.problem(line.file, line.number, "", text)
                continue
            if message:
                notes.remark(line.file, line.number, words[0], message, effect(words[0]))
            if words is line.words:
                found.lines.append(line)
    return found


def bases(settings: Globals, first: Path) -> Bases:
    """Return the bases of relative paths; ``first`` is the first file of the configuration."""
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
    """Return by how many percent checks are spread (``spread-checks``)."""
    line = settings.last("spread-checks")
    return (line and len(line.words) > 1 and _number(line, 0, 50, notes)) or 0


def tls_defaults(settings: Globals, notes: Notes) -> Sequence[str]:
    """Return the words of ``ssl-default-bind-options``; report those that are not converted."""
    line = settings.last("ssl-default-bind-options")
    if line is None:
        return ()
    for word in line.words[1:]:
        if word in OPTIONS and (message := OPTIONS[word][1]):
            notes.remark(line.file, line.number, f"ssl-default-bind-options {word}", message, effect_of_bind(word))
    return line.words[1:]


def write_settings(
    top: TomlTable,
    settings: Globals,
    proxies: Sequence[Proxy],
    page: int | None,
    surroundings: Surroundings,
    notes: Notes,
) -> None:
    """Write everything above the listeners; ``page`` is the port of the statistics page, if nothing else uses it."""
    threads = settings.last("nbthread") or settings.last("nbproc")
    if threads is not None and len(threads.words) > 1:
        top.set("workers", _number(threads, 1, 256, notes), threads.words[0])
    top.set("state_dir", "/var/lib/balancer", "pins, drains and weights survive restarts here")
    _admin(top, settings, proxies, page, notes)
    write_log(top, settings.lines, proxies, surroundings, notes)
    limits = top.table("limits")
    if (line := settings.last("maxconn")) and len(line.words) > 1:
        limits.set("max_connections", _number(line, 0, MAX_CONNECTIONS, notes) or None, "maxconn")
    if (line := settings.last("tune.bufsize")) and len(line.words) > 1:
        try:
            limits.set("max_head_bytes", min(max(size(line.words[1]), 1024), 1 << 20), "tune.bufsize")
        except ValueError as error:
            notes.problem(line.file, line.number, line.words[0], str(error))
    _timeouts(top, settings, proxies, notes)


def _admin(top: TomlTable, settings: Globals, proxies: Sequence[Proxy], page: int | None, notes: Notes) -> None:
    admin = top.table("admin")
    comment = "for balancer status, top, backend, ring and the other verbs"
    for line in settings.lines:
        if line.words[:2] == ("stats", "socket"):
            message = "statistics socket: use admin.socket, which speaks HTTP"
            notes.remark(line.file, line.number, "stats socket", message, Effect.NONE)
        elif line.words[0] == "stats":
            notes.remark(
                line.file, line.number, "stats", "setting of the statistics socket: nothing to do", Effect.NONE
            )
    admin.set("socket", "/run/balancer/admin.sock", comment)
    pages = [proxy for proxy in proxies if proxy.all("stats")]
    comment = "for /metrics, /healthz and /readyz, on this machine; elsewhere it needs a token_file"
    admin.set("listen", f"127.0.0.1:{page or 9600}", comment)
    told = "statistics page: use balancer status, balancer top, and /metrics of admin.listen"
    for proxy in pages:
        for line in proxy.all("stats"):
            notes.remark(line.file, line.number, " ".join(line.words[:2]), told, Effect.NONE)


def _timeouts(top: TomlTable, settings: Globals, proxies: Sequence[Proxy], notes: Notes) -> None:
    """Write one value of each for all proxies: the longest, so that no connection is cut off earlier."""
    table = top.table("timeouts", "one value for the whole daemon: the longest of all sections")
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
        if ours != "keep_alive" or table.keys.get("idle", ("",))[0] != duration(longest):
            table.set(ours, duration(longest), f"timeout {name}")
        for line, value in chosen.items():
            if value == longest:
                decided.add(line)
            else:
                shorter[line] = f"the longest value of all sections is used: {duration(longest)} (timeouts.{ours})"
    for line, message in shorter.items():
        if line not in decided:
            notes.remark(line.file, line.number, " ".join(line.words[:2]), message, Effect.CHANGED)
    for keyword, key in (("hard-stop-after", "drain"), ("close-spread-time", "close_spread")):
        ending = settings.last(keyword)
        if ending is not None and len(ending.words) > 1 and (given_time := _duration(ending, notes, 1)) is not None:
            table.set(key, duration(given_time), keyword)


def _timeouts_of(proxy: Proxy, names: Sequence[Sequence[str]], notes: Notes) -> dict[Line, int]:
    """Return the lines that count in this proxy: those of the first group of names of which there are any."""
    for group in names:
        lines = [line for name in group if (line := proxy.last(f"timeout {name}")) and len(line.words) > 2]
        if lines:
            return {line: value for line in lines if (value := _duration(line, notes)) is not None}
    return {}


def _duration(line: Line, notes: Notes, at: int = 2) -> int | None:
    try:
        return timeout(line.words[at])
    except ValueError as error:
        notes.problem(line.file, line.number, " ".join(line.words[:at]), str(error))
        return None


def _number(line: Line, least: int, most: int, notes: Notes) -> int | None:
    try:
        return min(number(line.words[1], least, 2**31 - 1), most)
    except ValueError as error:
        notes.problem(line.file, line.number, line.words[0], str(error))
        return None
