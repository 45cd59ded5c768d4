"""Where haproxy's log of requests went, and how its lines looked: ``log``, ``option httplog`` (haproxy 2.6, 4.2).

Only what frontends log is converted: the daemon's own messages go to the journal or to standard error.
"""

from collections.abc import Iterator, Sequence
from typing import get_args

from balancer.config.scalars import Facility
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import Where, where
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Effect, Notes, Surroundings
from balancer.migrate.toml import TomlTable

_WITH_ARGUMENT = ("len", "format", "sample", "profile")
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice")
"""Highest levels at which requests, which are logged as ``info``, are left out."""
_PORT = 514


def write_log(
    top: TomlTable, general: Sequence[Line], proxies: Sequence[Proxy], surroundings: Surroundings, notes: Notes
) -> None:
    """Write the table ``log``; ``general`` are the lines of the section ``global``."""
    chosen: tuple[str, str, Line] | None = None
    for line in _lines(general, proxies):
        words = _words(line)
        if words[:1] == ["stdout"] and chosen is None:
            chosen = ("stdout", "", line)
        if words[2:3] and words[2] in _LEVELS:
            _tell(line, "leaves requests out: the daemon's own messages go to the journal", notes)
            continue
        found = _target(words[0] if words else "", surroundings)
        if found is None:
            _tell(line, "goes to a target that log.access cannot be", notes)
        elif chosen is None:
            chosen = (found, words[1] if len(words) > 1 else "", line)
        elif (found, line) != (chosen[0], chosen[2]) and found != chosen[0]:
            _tell(line, "the access log has one target, that of another line", notes)
    if chosen is None:
        return
    target, facility, line = chosen
    table = top.table("log")
    table.set("access", target, f"log ({line})")
    table.set("access_format", "haproxy", "lines of option httplog and option tcplog")
    if target.startswith("syslog"):
        if facility in get_args(Facility):
            table.set("facility", facility if facility != "local0" else None)
        else:
            _tell(line, "its facility is local0 here", notes)


def _lines(general: Sequence[Line], proxies: Sequence[Proxy]) -> Iterator[Line]:
    """Yield the lines that say where frontends log to, each once."""
    seen: set[Line] = set()
    for proxy in proxies:
        for line in proxy.all("log"):
            wanted = [each for each in general if each.words[0] == "log"] if line.words[1:] == ("global",) else [line]
            for each in wanted:
                if proxy.serves and each not in seen and len(each.words) > 1:
                    seen.add(each)
                    yield each


def _words(line: Line) -> list[str]:
    """Return the address, the facility and the level of a line."""
    rest, found = iter(line.words[1:]), []
    for word in rest:
        if word in _WITH_ARGUMENT:
            next(rest, "")
        else:
            found.append(word)
    return found


def _target(address: str, surroundings: Surroundings) -> str | None:
    if address in ("stdout", "stderr"):
        return "stdout"
    try:
        given = where(address.removeprefix("udp@"))
    except ValueError:
        return None
    if given.path:
        return "syslog" if given.path == "/dev/log" else f"syslog:{given.path}"
    host = _host(given, surroundings)
    if not host:
        return None
    port = given.first or _PORT
    return f"syslog:[{host}]:{port}" if ":" in host else f"syslog:{host}:{port}"


def _host(given: Where, surroundings: Surroundings) -> str:
    if not given.is_name:
        return given.host
    return next(iter(surroundings.resolve(given.host)), "")


def _tell(line: Line, message: str, notes: Notes) -> None:
    notes.remark(line.file, line.number, "log", message, Effect.NONE)
