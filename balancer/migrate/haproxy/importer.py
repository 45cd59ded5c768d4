"""``balancer import haproxy``: convert its configuration so that every user stays on the same host.

Steps: words, sections, proxies with inherited lines. Then each line is either read by a module that writes
a part of our file, or reported to the operator. A file that haproxy would reject is an error, and so is
anything whose conversion would place users elsewhere.
"""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.haproxy.access import Access, access
from balancer.migrate.haproxy.acl import Acls
from balancer.migrate.haproxy.actions import tell
from balancer.migrate.haproxy.bind import binds
from balancer.migrate.haproxy.errors import named_pages, pages
from balancer.migrate.haproxy.fields import ACTIONS as FIELD_ACTIONS
from balancer.migrate.haproxy.fields import Changes, field_changes, forwarded_for
from balancer.migrate.haproxy.known_proxy import KEYWORDS, effect
from balancer.migrate.haproxy.listener import Front, Listeners
from balancer.migrate.haproxy.persistence import AssignedCookie, by_address, cookie_names
from balancer.migrate.haproxy.pool import Target, usable, write_pool
from balancer.migrate.haproxy.proxy import Proxy, keyword_of, proxies
from balancer.migrate.haproxy.route import conditions, rules, tell_acls
from balancer.migrate.haproxy.server import HaproxyServer, servers
from balancer.migrate.haproxy.settings import Globals, bases, global_section, spread, tls_defaults, write_settings
from balancer.migrate.haproxy.source import SECTIONS, HaproxySection, read
from balancer.migrate.haproxy.variable import hashed_variables, sets
from balancer.migrate.haproxy.words import Line
from balancer.migrate.match import Match
from balancer.migrate.names import own_name
from balancer.migrate.outcome import Notes, Outcome, Surroundings
from balancer.migrate.shorthands import shorten
from balancer.migrate.toml import TomlTable

_ANSWERS = ("http-response", "http-after-response")
_ACTIONS = ("http-request", "tcp-request")


def import_haproxy(paths: Sequence[Path], surroundings: Surroundings) -> Outcome:
    """Convert the files in ``paths``, given as for haproxy's option -f. Raise ``ConfigError`` if they have errors."""
    notes = Notes()
    sections = read(paths, surroundings.environment, notes)
    settings = global_section(sections, notes)
    every = proxies(sections, notes)
    _tell_sections(sections, notes)
    _tell_lines(every, notes)
    active = _active(every, notes)
    notes.check()

    names = ", ".join(map(str, paths))
    top = TomlTable("", f"Made from {names} by `balancer import haproxy`. Comments say where a value comes from.")
    known = {proxy.name for proxy in every if proxy.balances}
    _write_proxies(top, settings, active, named_pages(sections), known, paths[0], surroundings, notes)
    notes.check()
    shorten(top, notes, names)
    lines = ((line.file, line.number) for section in sections for line in section.lines)
    return notes.outcome(f"{top}{_left_out(notes)}", lines)


def _write_proxies(
    top: TomlTable,
    settings: Globals,
    active: Sequence[Proxy],
    errors: Mapping[str, Mapping[str, Line]],
    known: Set[str],
    first: Path,
    surroundings: Surroundings,
    notes: Notes,
) -> None:
    """Write listeners and pools; ``known`` are all backends, disabled ones included, ``errors`` named error pages."""
    where = bases(settings, first)
    defaults = tls_defaults(settings, notes)
    members = {proxy.name: servers(proxy, notes) for proxy in active if proxy.balances}
    taken: set[str] = set()
    pools = {name: own_name(name, taken) for name, found in members.items() if usable(found)}
    acls = {(proxy.kind, proxy.name): conditions(proxy, notes) for proxy in active}
    passed = {(proxy.kind, proxy.name): access(proxy, acls[proxy.kind, proxy.name], notes) for proxy in active}
    inner = {name: Access() for name in known} | {
        proxy.name: passed[proxy.kind, proxy.name] for proxy in active if proxy.balances
    }
    closed = {name for name in known if name not in pools or any(each.match == Match() for each in inner[name].rules)}
    error_pages = {(proxy.kind, proxy.name): pages(proxy, errors, where, notes) for proxy in active}
    fronts = []
    for proxy in active:
        if proxy.serves:
            key = (proxy.kind, proxy.name)
            routes = rules(proxy, acls[key], passed[key], closed, notes)
            fronts.append(
                Front(proxy, binds(proxy, where, defaults, notes), passed[key], routes, acls[key], error_pages[key])
            )
    for proxy in active:
        tell_acls(proxy, passed[proxy.kind, proxy.name].converted, notes)
    _check_references(fronts, known, notes)
    notes.check()
    write_settings(top, settings, active, _page(fronts, pools), surroundings, notes)
    behind = {name: found for (kind, name), found in error_pages.items() if kind != "frontend"}
    listeners = Listeners(top, pools, inner, behind, notes, allow_open=surroundings.allow_open)
    for front in fronts:
        listeners.write(front)
    verify = settings.argument("ssl-server-verify") != "none"
    spread_percent, cookies = spread(settings, notes), cookie_names(active, members)
    for proxy in active:
        if not proxy.balances:
            continue
        if proxy.name not in pools:
            _tell_unusable(proxy, members[proxy.name], notes)
            continue
        leading = [each for each in fronts if any(rule.backend == proxy.name for rule in each.routes)]
        ports = frozenset(
            int(address.rpartition(":")[2]) for front in leading for bind in front.binds for address in bind.addresses
        )
        rewritten = inner[proxy.name].rewritten.union(*(front.access.rewritten for front in leading))
        led = [front.proxy for front in leading]
        changes = _changes(proxy, acls[proxy.kind, proxy.name], leading, notes)
        over_tls = all(bind.tls for front in leading for bind in front.binds)
        cookie = AssignedCookie(cookies[proxy.name], over_tls) if proxy.name in cookies else None
        target = Target(surroundings, where, verify, spread_percent, led, frozenset(rewritten), ports, changes, cookie)
        write_pool(top, pools[proxy.name], proxy, members[proxy.name], target, notes)
    notes.check()
    if not any(table.header == "[[listener]]" for table in top.tables):
        for each in notes.barred:
            notes.problem(each.file, each.line, each.what, each.message)
        notes.problem(str(first), None, "", "no frontend leads to a server: nothing to import")


def _changes(proxy: Proxy, acls: Acls, leading: Sequence[Front], notes: Notes) -> Changes:
    """Return what a backend does to header fields, after the frontends that lead to it."""
    if proxy.serves:
        return _changes_of_listen(proxy, acls, leading, notes)
    ways = frozenset(bind.tls for front in leading for bind in front.binds if bind.addresses)
    found = field_changes(proxy, acls, ways, notes)
    # haproxy adds the address once, after the rules of both sections.
    here, before = forwarded_for(proxy, notes), [forwarded_for(front.proxy, notes) for front in leading]
    name = next((each for each in before if each is not None), None)
    if name is None:
        if here is not None:
            found.request.add(here, "{client_address}")
        return found
    if found.request.replaces(name.lower()):
        found.request.add(name, "{client_address}")
    line = proxy.last("option forwardfor")
    if line is not None and None in before:
        message = "added for the frontends that have the option themselves: not for the others"
        notes.remark(line.file, line.number, "option forwardfor", message)
    return found


def _changes_of_listen(proxy: Proxy, acls: Acls, leading: Sequence[Front], notes: Notes) -> Changes:
    """Return what a ``listen`` does to fields of requests that other frontends send it: for its own its listener does.

    What is set and removed may be done twice, what is added may not.
    """
    others = [front for front in leading if front.proxy.name != proxy.name]
    if not others:
        return Changes()
    ways = frozenset(bind.tls for front in others for bind in front.binds if bind.addresses)
    found = field_changes(proxy, acls, ways, notes)
    if forwarded_for(proxy, notes) and not all(forwarded_for(front.proxy, notes) for front in others):
        message = "adds the client's address for its own addresses only, not for other frontends"
        notes.remark(proxy.head.file, proxy.head.number, f"listen {proxy.name}", message)
    for changes in (found.request, found.response):
        if changes.added:
            message = f"adds header fields ({', '.join(changes.added)}) for its own addresses only, not for others"
            notes.remark(proxy.head.file, proxy.head.number, f"listen {proxy.name}", message)
            changes.added.clear()
    return found


def _page(fronts: Sequence[Front], pools: Mapping[str, str]) -> int | None:
    """Return the port of the statistics page, if nothing else uses it."""
    for front in fronts:
        if front.proxy.all("stats") and not any(rule.backend in pools for rule in front.routes):
            return next((int(address.rpartition(":")[2]) for bind in front.binds for address in bind.addresses), None)
    return None


def _active(every: Sequence[Proxy], notes: Notes) -> list[Proxy]:
    found = []
    for proxy in every:
        if proxy.disabled:
            notes.remark(proxy.head.file, proxy.head.number, f"{proxy.kind} {proxy.name}", "is disabled: not converted")
        elif proxy.mode not in ("http", "tcp"):
            message = f"expected mode http or tcp, not {shown(proxy.mode)}"
            notes.problem(proxy.head.file, proxy.head.number, f"{proxy.kind} {proxy.name}", message)
        else:
            found.append(proxy)
    return found


def _check_references(fronts: Sequence[Front], known: Set[str], notes: Notes) -> None:
    for front in fronts:
        for rule in front.routes:
            if rule.backend not in known:
                message = f"no backend is named {shown(rule.backend)}"
                notes.problem(rule.line.file, rule.line.number, rule.line.words[0], message)


def _tell_unusable(proxy: Proxy, members: Sequence[HaproxyServer], notes: Notes) -> None:
    message = "has no active server: not converted" if members else "has no servers: not converted"
    if proxy.kind != "listen" or members:
        notes.remark(proxy.head.file, proxy.head.number, f"{proxy.kind} {proxy.name}", message)


def _tell_sections(sections: Sequence[HaproxySection], notes: Notes) -> None:
    for section in sections:
        if section.kind in SECTIONS:
            notes.remark(section.head.file, section.head.number, section.kind, SECTIONS[section.kind])
            for line in section.lines:
                message = f"is part of the section {section.kind} in line {section.head.number}: not converted"
                notes.remark(line.file, line.number, line.words[0], message)


def _tell_lines(every: Sequence[Proxy], notes: Notes) -> None:
    """Report each line that no module reads."""
    variables = hashed_variables(every)
    for proxy in every:
        for line in (*proxy.inherited, *proxy.own):
            keyword = keyword_of(line)
            if keyword is None or sets(line) in variables:
                continue
            if line.words[0] in _ACTIONS:
                tell(line, notes)
            elif line.words[0] in _ANSWERS and line.words[1:2] and line.words[1] in FIELD_ACTIONS:
                continue
            elif KEYWORDS[keyword] and not (keyword == "stick-table" and by_address(proxy)):
                notes.remark(line.file, line.number, keyword, KEYWORDS[keyword], effect(keyword))


def _left_out(notes: Notes) -> str:
    """Return what has no counterpart as a comment for the end of the file."""
    if not notes.remarks:
        return ""
    table = TomlTable("", "Not converted, by line:\n" + "\n".join(map(str, notes.remarks)))
    return f"\n{table}"
