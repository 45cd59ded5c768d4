"""Which pool a request goes to: ``use_backend`` and ``default_backend`` (haproxy 2.6, sections 4.2 and 2.4 of maps)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.haproxy.acl import KEYS, Match, NoCounterpart, alternatives, entries, values
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Notes

_MAP = re.compile(r"%\[(.+?),map(_str|_beg|_end|_dom)?\(([^,()]+)(?:,([^,()]+))?\)\]")


@dataclass(frozen=True)
class BackendRule:
    """A choice of a pool: the name of haproxy's backend, and what a request must match."""

    backend: str
    match: Match
    line: Line


def rules(proxy: Proxy, notes: Notes) -> list[BackendRule]:
    """Return the choices of a frontend in order; the last one has no condition if there is a default."""
    acls = conditions(proxy, notes)
    used: set[str] = set()
    found: list[BackendRule] = []
    for line in proxy.all("use_backend"):
        if len(line.words) < 2:
            notes.problem(line.file, line.number, "use_backend", "the name of a backend is wanted")
            continue
        try:
            found += list(_rules(line, acls))  # all of a line or nothing
            used.update(word.lstrip("!") for word in line.words[2:])
        except NoCounterpart as error:
            message = f"a route cannot express this ({error}): its requests go to the rules after it"
            notes.remark(line.file, line.number, "use_backend", message)
        except ValueError as error:
            notes.problem(line.file, line.number, "use_backend", str(error))
    redirect = https_only(proxy, notes)
    used.update(word.lstrip("!") for word in (redirect.words if redirect else ()))
    for line in proxy.all("acl"):
        if line.words[1:2] and line.words[1] not in used:
            notes.remark(line.file, line.number, "acl", "belongs to rules that were not converted: not converted")
    default = proxy.last("default_backend")
    if default is not None and len(default.words) > 1:
        found.append(BackendRule(default.words[1], Match(), default))
    elif proxy.kind == "listen":
        found.append(BackendRule(proxy.name, Match(), proxy.head))
    return list(_merged(found))


def conditions(proxy: Proxy, notes: Notes) -> dict[str, list[Sequence[str]]]:
    """Return the ACLs of a proxy by name; lines with the same name are alternatives."""
    acls: dict[str, list[Sequence[str]]] = {}
    for line in proxy.all("acl"):
        if len(line.words) < 3:
            notes.problem(line.file, line.number, "acl", "expected a name and a criterion")
        else:
            acls.setdefault(line.words[1], []).append(line.words[2:])
    return acls


def _rules(line: Line, acls: dict[str, list[Sequence[str]]]) -> Iterator[BackendRule]:
    target, condition = line.words[1], alternatives(line.words[2:], acls)
    if "%[" not in target:
        yield from (BackendRule(target, match, line) for match in condition)
        return
    found = _MAP.fullmatch(target)
    if found is None:
        raise NoCounterpart("the name is computed, and not by a single map")
    fetch, how, file, default = found.groups()
    for entry in entries(Path(file)):
        key, _, backend = entry.partition(" ")
        match = values(fetch, ["-m", (how or "_str")[1:]], [key])
        yield from (BackendRule(backend.strip(), both, line) for each in condition if (both := each.both(match)))
    if default is not None:
        yield from (BackendRule(default, match, line) for match in condition)


def _merged(found: list[BackendRule]) -> Iterator[BackendRule]:
    """Merge neighbours with the same backend that differ only in the values of one key."""
    last: BackendRule | None = None
    for rule in found:
        if last is not None:
            one = _joined(last, rule)
            if one is not None:
                last = one
                continue
            yield last
            if last.match == Match():
                return  # a rule without a condition matches everything
        last = rule
    if last is not None:
        yield last


def _joined(one: BackendRule, other: BackendRule) -> BackendRule | None:
    differing = [
        field.name for field in fields(Match) if getattr(one.match, field.name) != getattr(other.match, field.name)
    ]
    if one.backend != other.backend or one.line is not other.line or len(differing) > 1:
        return None
    if not differing:
        return one
    key = differing[0]
    if key not in KEYS or not getattr(one.match, key) or not getattr(other.match, key):
        return None
    both = {each: tuple(dict.fromkeys(getattr(one.match, each) + getattr(other.match, each))) for each in KEYS}
    return replace(one, match=Match(**both, tls=one.match.tls))


def https_only(proxy: Proxy, notes: Notes) -> Line | None:
    """Return the rule that redirects every request without TLS to https, if there is one."""
    acls = conditions(proxy, notes)
    for line in (*proxy.all("redirect"), *proxy.all("http-request redirect")):
        words = line.words[line.words.index("redirect") + 1 :]
        if words[:2] != ("scheme", "https"):
            continue
        start = next((at for at, word in enumerate(words) if word in ("if", "unless")), len(words))
        try:
            if any(match in (Match(), Match(tls=False)) for match in alternatives(words[start:], acls)):
                return line
        except (NoCounterpart, ValueError):
            continue
    return None


def described(rule: BackendRule) -> str:
    """Return the position of the rule for a comment."""
    return f"{shown(' '.join(rule.line.words[:1]), 40)[1:-1]} {rule.backend} ({rule.line})"
