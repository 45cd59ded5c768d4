"""Convert a frontend, or the accepting half of a ``listen``, to ``[[listener]]``.

A frontend may use TLS on one address and plain text on another; our listeners do one of them, so a frontend may
become several.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from balancer.config.section import MAX_CONNECTIONS
from balancer.migrate.haproxy.access import Access
from balancer.migrate.haproxy.acl import Acls
from balancer.migrate.haproxy.bind import Bind
from balancer.migrate.haproxy.errors import Pages, listener_pages
from balancer.migrate.haproxy.fields import field_changes, forwarded_for
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.route import BackendRule, described
from balancer.migrate.haproxy.scalars import number
from balancer.migrate.haproxy.words import Line
from balancer.migrate.match import Match
from balancer.migrate.names import own_name
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.steps import Step, write_steps
from balancer.migrate.toml import TomlTable, Value

_UNAVAILABLE = 503
"""What haproxy answers if no server is left."""
_PRIVATE = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"]


@dataclass(frozen=True)
class Front:
    """A frontend with its addresses, rules and choices of pools."""

    proxy: Proxy
    binds: Sequence[Bind]
    access: Access
    routes: Sequence[BackendRule]
    acls: Acls
    pages: Pages


@dataclass(frozen=True)
class _Choice(Step):
    """A step, and where it comes from."""

    line: Line = field(default_factory=lambda: Line("", 0, ()))
    backend: str = ""
    """haproxy's backend, if it has been chosen."""


class Listeners:
    """Appends listeners, proxy by proxy.

    ``pools`` maps backends that became pools to our names, ``inner`` and ``pages`` have the rules and
    error pages of all backends.
    """

    def __init__(
        self,
        top: TomlTable,
        pools: Mapping[str, str],
        inner: Mapping[str, Access],
        pages: Mapping[str, Pages],
        notes: Notes,
        *,
        allow_open: bool,
    ) -> None:
        self._top = top
        self._pools = pools
        self._inner = inner
        self._pages = pages
        self._notes = notes
        self._allow_open = allow_open
        self._taken: set[str] = set()
        self._bound: dict[str, Bind] = {}

    def write(self, front: Front) -> None:
        """Append the listeners of a frontend."""
        for group in _groups(front.binds):
            tls = group[0].tls
            steps = list(_until_all(self._steps(front, tls), front.proxy.mode, group[0]))
            if self._barred(front, group, steps):
                continue
            self._bound_once(group)
            self._write(front, group, steps)

    def _steps(self, front: Front, tls: bool) -> Iterator[_Choice]:
        """Yield everything that decides about a request of this frontend, in order."""
        for rule in front.access.rules:
            yield _choice(rule.match, rule.line, rule.action)
        for route in front.routes:
            inner = self._inner.get(route.backend) if route.backend != front.proxy.name else None
            for rule in inner.rules if inner else ():
                if rule.of_address:
                    continue
                both = rule.match.both(route.match)
                if both is not None:
                    yield _choice(both, rule.line, rule.action, route.backend)
            pool = self._pools.get(route.backend)
            action: tuple[str, Value] = ("pool", pool) if pool else ("deny", _UNAVAILABLE)
            yield _choice(route.match, route.line, action, route.backend)

    def _barred(self, front: Front, group: Sequence[Bind], steps: Sequence[_Choice]) -> bool:
        """Report access control in front of a group that has no counterpart; return whether it must stay closed."""
        behind = {step.backend for step in steps} - {"", front.proxy.name}
        found = [*front.access.barred, *(each for name in sorted(behind) for each in self._inner[name].barred)]
        found += [(bind.line, what, reason) for bind in group for what, reason in bind.barred]
        for line, what, reason in found:
            self._notes.bar(line.file, line.number, what, reason, opened=self._allow_open)
        return bool(found) and not self._allow_open

    def _bound_once(self, group: Sequence[Bind]) -> None:
        for bind in group:
            for address in bind.addresses:
                other = self._bound.setdefault(address, bind)
                if not any(other is each for each in group):  # "bind *:80" beside "bind [::]:80" is one address
                    message = f"{address} is bound already in line {other.line}"
                    self._notes.problem(bind.line.file, bind.line.number, "bind", message)

    def _write(self, front: Front, group: Sequence[Bind], steps: list[_Choice]) -> None:
        proxy, head, first = front.proxy, front.proxy.head, group[0]
        pools = [str(value) for step in steps for key, value in (step.action,) if key == "pool"]
        useful = bool(pools) or any(step.action[0] == "redirect" for step in steps)
        fallback = pools[-1] if pools else next(iter(self._pools.values()), "")
        if not useful or not fallback:
            where = ", ".join(address for bind in group for address in bind.addresses[:2])
            message = f"no backend behind {where} was converted: not converted"
            self._notes.remark(head.file, head.number, f"{proxy.kind} {proxy.name}", message)
            return
        listener = self._top.element("listener", f"{proxy.kind} {proxy.name} ({head})")
        wanted = f"{proxy.name}-tls" if first.tls and proxy.name in self._taken else proxy.name
        listener.set("name", own_name(wanted, self._taken))
        listener.set("bind", list(dict.fromkeys(address for bind in group for address in bind.addresses)))
        if proxy.mode == "tcp":
            listener.set("mode", "tcp", "mode tcp")
        behind = dict.fromkeys(step.backend for step in steps if step.action[0] == "pool")
        if steps and steps[-1].match == Match() and steps[-1].action[0] == "pool":
            last = steps.pop()
            listener.set("pool", last.action[1], described(last.line))
        else:
            listener.set("pool", fallback, "no request goes here: the rules decide about all of them")
            if not steps or steps[-1].match != Match():
                steps.append(_choice(Match(), head, ("deny", _UNAVAILABLE)))
        _proxy_header(listener, proxy, first, self._notes)
        _limit(listener, proxy, group, self._notes)
        if proxy.mode == "http":
            listener.set("forwarded", "keep", "as haproxy, which passes X-Forwarded-* of all clients on")
            changes = field_changes(proxy, front.acls, frozenset((first.tls,)), self._notes)
            if name := forwarded_for(proxy, self._notes):
                changes.request.add(name, "{client_address}")
            changes.request.write(listener, "request_fields")
            changes.response.write(listener, "response_fields")
            pages = listener_pages(front.pages, [self._pages[name] for name in behind], self._notes)
            listener.set("error_pages", pages or None, "errorfile")
        if first.tls:
            tls = listener.table("tls")
            tls.set("min_version", first.min_version)
            pairs = [{"cert": str(cert.absolute()), "key": str(key.absolute())} for cert, key in first.certificates]
            tls.set("certificates", pairs, "from crt; a file may contain chain and key")
            if first.client is not None:
                tls.set("client", first.client.kind, "verify")
                tls.set("client_ca", str(first.client.authorities.absolute()), "ca-file")
                tls.set("client_crl", str(first.client.crl.absolute()) if first.client.crl else None, "crl-file")
        for step in steps:
            if step.denies_by_path:
                message = "paths are compared as hosts read them, and encoded slashes are answered 400"
                self._notes.remark(step.line.file, step.line.number, step.line.words[0], message, Effect.CHANGED)
        write_steps(listener, steps)


def _choice(match: Match, line: Line, action: tuple[str, Value], backend: str = "") -> _Choice:
    return _Choice(match, action, described(line), line, backend)


def _until_all(steps: Iterable[_Choice], mode: str, bind: Bind) -> Iterator[_Choice]:
    """Yield the steps that can match on a listener with such addresses, up to the first that matches everything."""
    for step in steps:
        match = step.match.where(tls=bind.tls)
        if match is not None and mode == "http" and not bind.tls:
            match = _without_names(match)
        if match is not None and mode == "tcp" and bind.tls:
            match = match.given("tls", value=False)  # what comes out of TLS that ends here is no ClientHello
        if match is not None and bind.client is None:
            match = match.given("certificate", value=False)
        if match is not None:
            yield replace(step, match=match)
            if match == Match():
                return


def _without_names(match: Match) -> Match | None:
    """Return a match for connections without TLS, which have no server name."""
    if match.when.sni:
        return None
    return replace(match, unless=tuple(each for each in match.unless if not each.sni))


def _groups(binds: Sequence[Bind]) -> list[list[Bind]]:
    """Group the bind lines that one listener can serve."""
    groups: dict[object, list[Bind]] = {}
    for bind in binds:
        if bind.addresses:
            tls = (bind.certificates, bind.min_version, bind.client) if bind.tls else ()
            way = (tls, "accept-proxy" in bind.options)
            groups.setdefault(way, []).append(bind)
    return list(groups.values())


def _limit(listener: TomlTable, proxy: Proxy, group: Sequence[Bind], notes: Notes) -> None:
    line = proxy.last("maxconn")
    if line is not None and len(line.words) > 1:
        try:
            listener.set("max_connections", min(number(line.words[1], 0, 2**31 - 1), MAX_CONNECTIONS), "maxconn")
        except ValueError as error:
            notes.problem(line.file, line.number, "maxconn", str(error))
    for bind in group:
        if "maxconn" in bind.options:
            message = "limits connections of one address; listener.max_connections limits those of the listener"
            notes.remark(bind.line.file, bind.line.number, "bind maxconn", message)


def _proxy_header(listener: TomlTable, proxy: Proxy, bind: Bind, notes: Notes) -> None:
    expected = [line for line in proxy.all("tcp-request connection") if line.words[2:4] == ("expect-proxy", "layer4")]
    networks = [network for line in expected for network in _sources(line)]
    if "accept-proxy" in bind.options or (expected and not networks):
        line = bind.line if "accept-proxy" in bind.options else expected[0]
        message = (
            "haproxy took PROXY headers from anywhere, here only private networks may send them: list your balancers"
        )
        notes.remark(line.file, line.number, "bind accept-proxy", message, Effect.CHANGED)
        networks = _PRIVATE
    if networks:
        listener.set("proxy_protocol", "accept")
        listener.set("trusted", networks)


def _sources(line: Line) -> Iterator[str]:
    """Yield the networks of ``expect-proxy layer4 if { src NETWORK... }``."""
    words = line.words[4:]
    if words[:3] == ("if", "{", "src"):
        for word in words[3:]:
            if word == "}":
                return
            try:
                ip_address(word.partition("/")[0])
            except ValueError:
                continue
            yield word
