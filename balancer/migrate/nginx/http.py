"""Convert ``server`` and ``location`` to ``[[listener]]`` and its routes.

nginx first chooses the server by host: an exact name before ``*.name``, the longest of those first, the default server
last. Then the location by decoded path with merged slashes: an exact one (``=``) before the longest prefix, and
regular expressions in between, which have no counterpart here. Our routes are tried in order, on paths as received.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.challenges import ACTION, write_challenges
from balancer.migrate.match import Condition, Match
from balancer.migrate.names import own_name
from balancer.migrate.nginx.access import Guard, closes, location_guard, server_guard
from balancer.migrate.nginx.chain import inherited
from balancer.migrate.nginx.errors import challenge_folder, error_pages, is_page
from balancer.migrate.nginx.fields import field_changes
from balancer.migrate.nginx.listen import Door
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.target import Goals, host_patterns
from balancer.migrate.nginx.tls import AskedClients, asked_clients, write_tls
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.steps import Step, write_steps
from balancer.migrate.toml import TomlTable

_PREFIX = re.compile(r"\^(/[A-Za-z0-9_/-]*)(\$)?")
_PRIVATE = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"]


@dataclass(frozen=True)
class _Place:
    """A location, or the part of it that a map sends to a pool."""

    pool: str
    """Empty if the location does not proxy."""
    where: Directive
    condition: Condition
    guard: Guard

    def steps(self) -> Iterator[Step]:
        """Yield what happens to its requests."""
        for step in self.guard.steps:
            both = step.match.both(Match(self.condition))
            if both is not None:
                yield replace(step, match=both)
        if self.pool and not self.guard.answered:
            comment = f"{self.where.name} {' '.join(self.where.args)} ({self.where})".strip()
            yield Step(Match(self.condition), ("pool", self.pool), comment)


@dataclass(frozen=True)
class _Site:
    """What a server does with its requests."""

    guard: Guard
    places: Sequence[_Place]

    @property
    def proxies(self) -> bool:
        """Return whether it sends requests to a pool."""
        return any(place.pool for place in self.places)

    @property
    def takes_all(self) -> bool:
        """Return whether a location takes what no other does."""
        guards = [*self.guard.steps, *(step for place in self.places for step in place.steps())]
        return any(step.match == Match() for step in guards)

    @property
    def barred(self) -> list[tuple[Directive, str, str]]:
        """Return what keeps clients out and has no counterpart."""
        return [each for guard in (self.guard, *(place.guard for place in self.places)) for each in guard.barred]

    def steps(self) -> list[Step]:
        """Return what happens to its requests, down to those that no location takes."""
        found = list(self.guard.steps)
        if not self.guard.answered:
            found += [step for place in self.places for step in place.steps()]
        if not self.takes_all:
            found.append(Step(Match(), ("deny", 404), "no location sends the other requests to a backend"))
        return found


def write_listener(top: TomlTable, http: Sequence[Directive], door: Door, goals: Goals, taken: set[str]) -> None:
    """Append the listener of a door, unless it proxies nothing or cannot be guarded."""
    notes = goals.notes
    sites = {id(server): _site(server, [*http, server], goals) for server in door.servers}
    default = door.servers[0]
    for server in door.servers:
        site = sites[id(server)]
        if not site.proxies and not site.guard.answered:
            message = f"answers by itself ({_names(server)}), which the daemon cannot do: not converted"
            notes.remark(server.file, server.line, "server", message)
    client = asked_clients(http, door, goals)
    for server in door.servers:
        if sites[id(server)].proxies and not sites[id(server)].takes_all:
            root = inherited([*http, server], "root")
            where, effect = (root[-1], Effect.TRAFFIC) if root else (server, Effect.CHANGED)
            message = "served files for the requests that no location sends to a backend: they are answered 404"
            notes.remark(where.file, where.line, where.name, message, effect)
    barred = [*client.barred, *(each for site in sites.values() for each in site.barred)]
    steps = list(_until_all(_by_host(door.servers, sites, notes, barred), door, client))
    for where, what, reason in barred:
        notes.bar(where.file, where.line, what, reason, opened=goals.allow_open)
    pools = [str(step.action[1]) for step in steps if step.action[0] == "pool"]
    fallback = next(reversed(pools), next((goal.name for goal in goals.found.values()), ""))
    useful = bool(pools) or any(step.action[0] == "redirect" for step in steps)
    if not useful or not fallback or (barred and not goals.allow_open):
        return
    listener = top.element("listener", f"server {_names(default)} ({default})")
    listener.set("name", own_name(_listener_name(default, door), taken))
    listener.set("bind", door.addresses)
    if steps[-1].match == Match() and steps[-1].action[0] == "pool":
        last = steps.pop()
        listener.set("pool", last.action[1], last.comment)
    else:
        listener.set("pool", fallback, "no request goes here: the rules decide about all of them")
    _trust(listener, [*http, default], door, notes)
    pages = error_pages(http, [server for server in door.servers if sites[id(server)].proxies], goals)
    listener.set("error_pages", pages or None, "error_page")
    listener.set("forwarded", "keep", "as nginx, which passes X-Forwarded-* of all clients on")
    steps = write_challenges(listener, steps)
    _tell_paths(steps, default, notes)
    if door.tls:
        write_tls(listener.table("tls"), http, door, client, goals)
    write_steps(listener, steps)


def _tell_paths(steps: Sequence[Step], server: Directive, notes: Notes) -> None:
    """Report how paths are compared: nginx decodes and normalizes them."""
    if any(step.denies_by_path for step in steps):
        message = "paths with encoded slashes or backslashes are answered 400: nginx took them for the decoded ones"
    elif any(each.path or each.path_prefix for step in steps for each in (step.match.when, *step.match.unless)):
        message = "paths are compared as clients send them: nginx decoded escapes, dots and several slashes first"
    else:
        return
    notes.remark(server.file, server.line, "server", message, Effect.CHANGED)


def _until_all(steps: Iterable[Step], door: Door, client: AskedClients) -> Iterator[Step]:
    """Yield the steps that can match on such a listener, up to the first that matches everything."""
    for step in steps:
        match = step.match.where(tls=door.tls)
        if match is not None and not client.kind:
            match = match.given("certificate", value=False)
        if match is not None:
            yield replace(step, match=match)
            if match == Match():
                return


def _site(server: Directive, chain: Sequence[Directive], goals: Goals) -> _Site:
    """Return what a server does, its locations in the order in which our rules must be tried."""
    found = list(_locations(server, chain, goals))
    by_expression = [place for place in found if place.where.args[0].startswith("~")]
    exact = [place for place in found if place.condition.path and place not in by_expression]
    prefixes = [place for place in found if place not in exact and place not in by_expression]

    def order(place: _Place) -> tuple[int, bool]:
        # Of the rules that one location makes by a map, those with hosts come first.
        return -max(map(len, place.condition.path_prefix), default=0), not place.condition.host

    return _Site(server_guard(chain, goals.notes), [*exact, *by_expression, *sorted(prefixes, key=order)])


def _locations(block: Directive, chain: Sequence[Directive], goals: Goals) -> Iterator[_Place]:
    siblings = block.all("location")
    known = set()
    for location in siblings:
        yield from _locations(location, [*chain, location], goals)
        kind, path = (
            ("", location.args[0]) if len(location.args) == 1 else location.args[:2] if location.args else ("", "")
        )
        where = (location.file, location.line, f"location {kind} {shown(path)}".replace("  ", " "))
        if path.startswith("@"):
            goals.notes.remark(*where, "serves internal redirects of nginx, which the daemon does not make")
            continue
        if kind not in ("", "=", "^~", "~", "~*") or not path or len(location.args) > 2:
            goals.notes.problem(*where, "expected a path, or a modifier (=, ^~, ~, ~*) and a path")
            continue
        if ("" if kind == "^~" else kind, path) in known:
            goals.notes.problem(*where, "this location is there twice, which nginx refuses")
        known.add(("" if kind == "^~" else kind, path))
        inner = [*chain, location]
        guard = location_guard(inner, goals.notes)
        condition = _condition(kind, path, siblings)
        if condition is None:
            if closes(location) or ((guard.steps or guard.barred) and any(map(closes, siblings))):
                reason = "the regular expression of its location is not supported"
                guard = Guard(barred=[*guard.barred, (location, where[2], reason)])
                yield _Place("", location, Condition(), guard)
            else:
                goals.notes.remark(
                    *where,
                    "of regular expressions only ^/NAME is supported: its requests go to the server's other locations",
                )
            continue
        proxy_pass = location.last("proxy_pass")
        if proxy_pass is None:
            folder = challenge_folder(kind, path, inner, goals.base)
            if folder is not None:
                guard = Guard()
                guard.add([Match()], (ACTION, folder), location)
            elif is_page(location, chain[-1], chain[:-1]):
                guard = Guard()
                guard.add([Match()], ("answer", {"status": 404}), location)
                goals.notes.remark(*where, "is sent as an error page; asked for, the answer is 404", Effect.CHANGED)
            if not guard.answered and not location.all("location"):
                goals.notes.remark(*where, "nginx answered without a backend; its requests go to shorter locations")
            if guard.steps or guard.barred:
                yield _Place("", location, condition, guard)
            continue
        others = {each.args[-1] for each in siblings if each.args and not each.args[0].startswith("~")}
        if kind in ("", "^~") and path.endswith("/") and path != "/" and path[:-1] not in others:
            slash = Guard()
            slash.add([Match()], ("redirect", {"location": path, "code": 301}), location)
            message = f"redirects {shown(path[:-1])} to it: here without the query, and Location is not made absolute"
            goals.notes.remark(*where, message, Effect.CHANGED)
            yield _Place("", location, Condition(path=(path[:-1],)), slash)
        changes = field_changes(inner, proxy_pass, goals.notes)
        for host, goal in goals.named(proxy_pass, inner, stream=False, changes=changes):
            narrowed = Condition(host=(host,)).both(condition) if host else condition
            if narrowed is not None:
                yield _Place(goal.name, location, narrowed, guard)


def _condition(kind: str, path: str, siblings: Sequence[Directive]) -> Condition | None:
    """Return which paths a location takes; None for a regular expression that no rule can express."""
    if kind == "=":
        return Condition(path=(path,))
    if kind not in ("~", "~*"):
        return Condition(path_prefix=(path,)) if path != "/" else Condition()
    literal = _PREFIX.fullmatch(path)
    if literal is None or (kind == "~*" and any(each.isalpha() for each in literal[1])):
        return None
    before = [each.args[1] for each in siblings if each.args[:1] == ("^~",) and len(each.args) > 1]
    if any(each.startswith(literal[1]) or literal[1].startswith(each) for each in before):
        return None
    return Condition(path=(literal[1],)) if literal[2] else Condition(path_prefix=(literal[1],))


def _by_host(
    servers: Sequence[Directive],
    sites: Mapping[int, _Site],
    notes: Notes,
    barred: list[tuple[Directive, str, str]],
) -> Iterator[Step]:
    """Yield the steps of servers that are chosen by name, then those of the default server, which is the first."""
    default, *others = servers
    named: list[tuple[str, Directive]] = []
    for server in (*others, default):
        patterns = _patterns(server, notes)
        named += [(pattern, server) for pattern in patterns]
        closing = [step for step in sites[id(server)].guard.steps if step.action[0] == "deny"]
        unnamed = [name for each in server.all("server_name") for name in each.args if name.startswith("~")]
        if server is not default and unnamed and (closing or not sites[id(server)].proxies):
            barred.append((server, "server_name", f"{shown(unnamed[0])} is not supported as the name of a server"))
    wildcards = any(pattern.startswith("*") for pattern, server in named if server is not default)
    named.sort(key=lambda each: (each[0].startswith("*"), -len(each[0]) if each[0].startswith("*") else 0))
    seen: set[str] = set()
    for pattern, server in named:
        if pattern in seen or (server is default and not wildcards):
            continue
        seen.add(pattern)
        for step in sites[id(server)].steps():
            both = step.match.both(Match(Condition(host=(pattern,))))
            if both is not None:
                yield replace(step, match=both)
    yield from sites[id(default)].steps()


def _patterns(server: Directive, notes: Notes) -> list[str]:
    return [
        pattern
        for each in server.all("server_name")
        for name in each.args
        for pattern in host_patterns(name, each, "server_name", notes)
    ]


def _trust(listener: TomlTable, chain: Sequence[Directive], door: Door, notes: Notes) -> None:
    """Write who may send PROXY headers and forwarding headers."""
    networks = []
    for each in inherited(chain, "set_real_ip_from"):
        try:
            networks.append(str(ip_network(each.args[0] if each.args else "")))
        except ValueError:
            notes.remark(
                each.file, each.line, "set_real_ip_from", "is no network address: add its address to listener.trusted"
            )
    if door.proxy_protocol:
        if not networks:
            server = chain[-1]
            message = (
                "nginx took PROXY headers from anywhere, here only private networks may send them: list your balancers"
            )
            notes.remark(server.file, server.line, "listen proxy_protocol", message)
            networks = _PRIVATE
        listener.set("proxy_protocol", "accept")
    listener.set("trusted", networks or None, "" if networks == _PRIVATE else "set_real_ip_from")


def _names(server: Directive) -> str:
    names = [name for each in server.all("server_name") for name in each.args if name]
    return " ".join(names[:3]) or "without a name"


def _listener_name(server: Directive, door: Door) -> str:
    names = [pattern for each in server.all("server_name") for pattern in each.args if pattern.strip("_~*.")]
    return names[0].lstrip("*.~") if names else f"port-{Path(door.addresses[0]).name.rpartition(':')[2]}"
