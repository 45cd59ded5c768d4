"""Files that nginx sends by itself and that the daemon can send too: ``error_page``, and ACME challenges."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from balancer.config.settings import CHALLENGES
from balancer.migrate.nginx.chain import Chain, inherited
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.target import Goals
from balancer.migrate.outcome import Notes

_ANSWERS = ("proxy_pass", "return", "try_files", "rewrite")
"""Directives of a location that does not just serve files."""


def error_pages(http: Sequence[Directive], servers: Sequence[Directive], goals: Goals) -> dict[str, str]:
    """Return the file of each status for a listener, whose default server comes first; report all that differs."""
    chosen: dict[str, str] = {}
    for server in servers:
        for status, file, where in _pages(server, [*http, server], goals):
            if chosen.setdefault(status, file) != file or (server is not servers[0] and _lacks(servers[0], http)):
                message = "the page of one server: here all servers of an address have the same"
                goals.notes.remark(where.file, where.line, "error_page", message)
    if "502" in chosen:
        chosen.setdefault("503", chosen["502"])  # what the daemon answers if no host can be reached
    return dict(sorted(chosen.items()))


def is_page(location: Directive, server: Directive, http: Sequence[Directive]) -> bool:
    """Return whether a location is there to serve an error page: it has its path, and serves files."""
    exact = location.args[:1] == ("=",) and not any(location.last(name) for name in _ANSWERS)
    return exact and location.args[-1] in {each.args[-1] for each in inherited([*http, server], "error_page")}


def challenge_folder(kind: str, path: str, chain: Chain, base: Path) -> str | None:
    """Return the folder of a location that answers ACME challenges with files; None for all other locations."""
    location = chain[-1]
    if kind not in ("", "^~") or path.rstrip("/") != CHALLENGES.rstrip("/"):
        return None
    if any(location.last(name) is not None for name in ("return", "rewrite")):
        return None
    alias, root = location.last("alias"), inherited(chain, "root")
    found = (
        alias.args[0] if alias is not None and alias.args else f"{root[-1].args[0].rstrip('/')}{path}" if root else ""
    )
    return None if not found or "$" in found else str(base / found.rstrip("/"))


def _lacks(server: Directive, http: Sequence[Directive]) -> bool:
    return not inherited([*http, server], "error_page")


def _pages(server: Directive, chain: Chain, goals: Goals) -> Iterator[tuple[str, str, Directive]]:
    for each in inherited(chain, "error_page"):
        *codes, target = each.args or ("",)
        changed = [code for code in codes if code.startswith("=")]
        file = None if changed else _file(target, server, chain, goals.base)
        if file is None:
            _tell(each, goals.notes)
            continue
        yield from ((code, file, each) for code in codes if code.isdigit() and 400 <= int(code) <= 599)
    for block in server.block or ():
        if block.name == "location" and block.last("error_page") is not None:
            _tell(block.all("error_page")[-1], goals.notes)


def _tell(where: Directive, notes: Notes) -> None:
    message = "is no file, changes the status, or is for one location: see listener.error_pages for files"
    notes.remark(where.file, where.line, "error_page", message)


def _file(target: str, server: Directive, chain: Chain, base: Path) -> str | None:
    """Return the file that nginx sends for an URI, None if it does not just send a file."""
    if not target.startswith("/") or "$" in target or "?" in target:
        return None
    location = _location(target, server)
    inner = [*chain, location] if location is not None else chain
    if location is not None and any(location.last(name) is not None for name in _ANSWERS):
        return None
    alias, root = location.last("alias") if location is not None else None, inherited(inner, "root")
    if alias is not None and location is not None and alias.args:
        found = alias.args[0] + ("" if location.args[0] == "=" else target[len(location.args[-1]) :])
    elif root and root[-1].args:
        found = root[-1].args[0].rstrip("/") + target
    else:
        return None
    return None if "$" in found else str(base / found)


def _location(target: str, server: Directive) -> Directive | None:
    """Return the location of a path, as far as it is not chosen by a regular expression."""
    prefixes: Mapping[int, Directive] = {
        len(each.args[-1]) + (each.args[0] == "=") * len(target): each
        for each in server.all("location")
        if each.args and (each.args[-1] == target or (each.args[0] != "=" and target.startswith(each.args[-1])))
    }
    return prefixes[max(prefixes)] if prefixes else None
