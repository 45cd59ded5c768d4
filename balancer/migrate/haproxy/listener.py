"""Convert a frontend, or the accepting half of a ``listen``, to ``[[listener]]``.

A frontend may use TLS on one address and plain text on another; our listeners do one of them, so a frontend may
become several.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from balancer.config.scalars import shown
from balancer.config.section import MAX_CONNECTIONS
from balancer.migrate.haproxy.acl import KEYS, Match
from balancer.migrate.haproxy.bind import Bind
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.route import BackendRule, described, https_only
from balancer.migrate.haproxy.scalars import number
from balancer.migrate.haproxy.words import Line
from balancer.migrate.names import own_name
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import TomlTable

_PRIVATE = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"]


class Listeners:
    """Appends listeners, proxy by proxy; ``pools`` maps backends that became pools to our names."""

    def __init__(self, top: TomlTable, pools: Mapping[str, str], notes: Notes) -> None:
        self._top = top
        self._pools = pools
        self._notes = notes
        self._taken: set[str] = set()
        self._bound: dict[str, Bind] = {}

    def write(self, proxy: Proxy, binds: Sequence[Bind], rules: Sequence[BackendRule]) -> None:
        """Append the listeners of ``proxy``."""
        redirect = https_only(proxy, self._notes)
        for group in _groups(binds):
            first = group[0]
            if redirect is not None and not first.tls:
                for each in group:
                    message = "redirects requests without TLS, which is not supported: this address is not converted"
                    self._notes.remark(each.line.file, each.line.number, "bind", message)
                continue
            own = [rule for rule in rules if rule.match.tls in (None, first.tls)]
            own = [rule for rule in own if first.tls or proxy.mode == "tcp" or not rule.match.sni]
            own = [rule for rule in own if self._readable(rule, proxy)]
            self._bound_once(group)
            self._write(proxy, group, list(self._known(own)))

    def _readable(self, rule: BackendRule, proxy: Proxy) -> bool:
        if proxy.mode == "http" or not (rule.match.host or rule.match.path or rule.match.path_prefix):
            return True
        message = "requests are not read in mode tcp: only SNI can choose a route"
        self._notes.remark(rule.line.file, rule.line.number, rule.line.words[0], message)
        return False

    def _bound_once(self, group: Sequence[Bind]) -> None:
        for bind in group:
            for address in bind.addresses:
                if (other := self._bound.setdefault(address, bind)).line is not bind.line:
                    message = f"{address} is bound already in line {other.line}"
                    self._notes.problem(bind.line.file, bind.line.number, "bind", message)

    def _known(self, rules: Sequence[BackendRule]) -> Iterator[BackendRule]:
        """The rules that lead to a pool."""
        for rule in rules:
            if rule.backend in self._pools:
                yield rule
            elif rule.line.words[0] != "listen":
                message = f"the backend {shown(rule.backend)} is no pool here: its requests go by the rules after this"
                self._notes.remark(rule.line.file, rule.line.number, rule.line.words[0], message)

    def _write(self, proxy: Proxy, group: Sequence[Bind], rules: list[BackendRule]) -> None:
        head, first = proxy.head, group[0]
        if not rules:
            where = ", ".join(address for bind in group for address in bind.addresses[:2])
            message = f"no backend behind {where} was converted: not converted"
            self._notes.remark(head.file, head.number, f"{proxy.kind} {proxy.name}", message)
            return
        has_default = rules[-1].match in (Match(), Match(tls=first.tls))
        if not has_default:
            message = (
                "haproxy answered requests that no rule matches with 503; here they go to the pool of the last rule: "
                "change listener.pool if needed"
            )
            self._notes.remark(head.file, head.number, f"{proxy.kind} {proxy.name}", message)
        listener = self._top.element("listener", f"{proxy.kind} {proxy.name} ({head})")
        wanted = f"{proxy.name}-tls" if first.tls and proxy.name in self._taken else proxy.name
        listener.set("name", own_name(wanted, self._taken))
        listener.set("bind", list(dict.fromkeys(address for bind in group for address in bind.addresses)))
        if proxy.mode == "tcp":
            listener.set("mode", "tcp", "mode tcp")
        listener.set("pool", self._pools[rules[-1].backend], described(rules[-1]))
        _proxy_header(listener, proxy, first, self._notes)
        _limit(listener, proxy, group, self._notes)
        if first.tls:
            tls = listener.table("tls")
            tls.set("min_version", first.min_version)
            pairs = [{"cert": str(cert.absolute()), "key": str(key.absolute())} for cert, key in first.certificates]
            tls.set("certificates", pairs, "from crt; a file may contain chain and key")
        for rule in rules[:-1] if has_default else rules:
            route = listener.element("route", described(rule))
            for key in KEYS:
                route.set(key, list(getattr(rule.match, key)) or None)
            route.set("pool", self._pools[rule.backend])


def _groups(binds: Sequence[Bind]) -> list[list[Bind]]:
    """Group the bind lines that one listener can serve."""
    groups: dict[object, list[Bind]] = {}
    for bind in binds:
        if bind.addresses:
            way = (bind.certificates, bind.min_version if bind.tls else "", "accept-proxy" in bind.options)
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
        notes.remark(line.file, line.number, "bind accept-proxy", message)
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
