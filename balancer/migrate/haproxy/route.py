"""Which pool a request goes to: ``use_backend`` and ``default_backend`` (haproxy 2.6, sections 4.2 and 2.4 of maps)."""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.haproxy.access import Access
from balancer.migrate.haproxy.acl import Acls, alternatives, entries, values
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.words import Line
from balancer.migrate.match import Match, NoCounterpart, conjunction, merged
from balancer.migrate.outcome import Effect, Notes

_MAP = re.compile(r"%\[(.+?),map(_str|_beg|_end|_dom)?\(([^,()]+)(?:,([^,()]+))?\)\]")


@dataclass(frozen=True)
class BackendRule:
    """A choice of a pool: the name of haproxy's backend, and what a request must match."""

    backend: str
    match: Match
    line: Line


def rules(proxy: Proxy, acls: Acls, before: Access, closed: Set[str], notes: Notes) -> list[BackendRule]:
    """Return the choices of a frontend in order; the last one has no condition if there is a default.

    ``before`` are the rules that requests have passed. The backends in ``closed`` serve no requests: choosing one of
    them denies the request.
    """
    found: list[BackendRule] = []
    for line in proxy.all("use_backend"):
        if len(line.words) < 2:
            notes.problem(line.file, line.number, "use_backend", "the name of a backend is wanted")
            continue
        try:
            found += list(_rules(line, acls, before))  # all of a line or nothing
            before.converted.append(line)
        except NoCounterpart as error:
            if line.words[1] in closed:
                before.barred.append((line, "use_backend", str(error)))
                continue
            message = f"a route cannot express this ({error}): its requests go to the rules after it"
            notes.remark(line.file, line.number, "use_backend", message)
        except ValueError as error:
            notes.problem(line.file, line.number, "use_backend", str(error))
    default = proxy.last("default_backend")
    if default is not None and len(default.words) > 1:
        found.append(BackendRule(default.words[1], Match(), default))
    elif proxy.kind == "listen":
        found.append(BackendRule(proxy.name, Match(), proxy.head))
    return found


def conditions(proxy: Proxy, notes: Notes) -> dict[str, list[Sequence[str]]]:
    """Return the ACLs of a proxy by name; lines with the same name are alternatives."""
    acls: dict[str, list[Sequence[str]]] = {}
    for line in proxy.all("acl"):
        if len(line.words) < 3:
            notes.problem(line.file, line.number, "acl", "expected a name and a criterion")
        else:
            acls.setdefault(line.words[1], []).append(line.words[2:])
    return acls


def tell_acls(proxy: Proxy, converted: Sequence[Line], notes: Notes) -> None:
    """Report the ACLs of a proxy that none of the ``converted`` lines uses."""
    used = {word.lstrip("!") for line in converted for word in line.words}
    for line in proxy.all("acl"):
        if line.words[1:2] and line.words[1] not in used:
            message = "belongs to rules that were not converted: not converted"
            notes.remark(line.file, line.number, "acl", message, Effect.NONE)


def _rules(line: Line, acls: Acls, before: Access) -> Iterator[BackendRule]:
    target, condition = line.words[1], before.exact(alternatives(line.words[2:], acls))
    if "%[" not in target:
        yield from (BackendRule(target, match, line) for match in merged(condition))
        return
    map_of = _MAP.fullmatch(target)
    if map_of is None:
        raise NoCounterpart("the name is computed, and not by a single map")
    fetch, how, file, default = map_of.groups()
    for entry in entries(Path(file)):
        key, _, backend = entry.partition(" ")
        matches = before.exact(values(fetch, ["-m", (how or "_str")[1:]], [key]))
        yield from (BackendRule(backend.strip(), each, line) for each in merged(conjunction(condition, matches)))
    if default is not None:
        yield from (BackendRule(default, match, line) for match in merged(condition))


def described(line: Line) -> str:
    """Return the position of a rule for a comment."""
    return f"{shown(' '.join(line.words[:2]), 60)[1:-1]} ({line})"
