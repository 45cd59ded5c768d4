"""From a frontend, or the half of a ``listen`` that takes connections, to ``[[listener]]``.

A frontend may speak TLS on one address and clear text on another; a listener of ours does one of them, so there are as
many as there are ways.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from balancer.config.scalars import shown
from balancer.migrate.haproxy.acl import KEYS, Match
from balancer.migrate.haproxy.bind import Bind
from balancer.migrate.haproxy.pool import own_name
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.route import Rule, described, https_only
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import Table

_PRIVATE = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"]


def write_listeners(
    top: Table,
    proxy: Proxy,
    binds: Sequence[Bind],
    rules: Sequence[Rule],
    pools: Mapping[str, str],
    taken: set[str],
    notes: Notes,
) -> None:
    """Append the listeners; ``pools`` are our names of the backends that have become pools."""
    redirect = https_only(proxy, notes)
    for group in _groups(binds):
        first = group[0]
        if redirect is not None and not first.tls:
            for each in group:
                message = "requests without TLS were sent to https: there are no redirects, so nobody listens here"
                notes.remark(each.line.file, each.line.number, "bind", message)
            continue
        own = [rule for rule in rules if rule.match.tls in (None, first.tls)]
        own = [rule for rule in own if first.tls or proxy.mode == "tcp" or not rule.match.sni]
        _write(top, proxy, group, _to_pools(own, pools, notes), taken, notes)


def _groups(binds: Sequence[Bind]) -> list[list[Bind]]:
    """Binds that one listener can serve."""
    groups: dict[object, list[Bind]] = {}
    for bind in binds:
        if bind.addresses:
            way = (bind.certificates, bind.min_version if bind.tls else "", "accept-proxy" in bind.options)
            groups.setdefault(way, []).append(bind)
    return list(groups.values())


def _to_pools(rules: Sequence[Rule], pools: Mapping[str, str], notes: Notes) -> list[Rule]:
    found = []
    for rule in rules:
        if rule.backend in pools:
            found.append(rule)
        elif rule.line.words[0] != "listen":
            message = f"the backend {shown(rule.backend)} is no pool here: its requests go by the rules after this one"
            notes.remark(rule.line.file, rule.line.number, rule.line.words[0], message)
    return found


def _write(top: Table, proxy: Proxy, group: Sequence[Bind], rules: list[Rule], taken: set[str], notes: Notes) -> None:
    head = proxy.head
    if not rules:
        where = ", ".join(address for bind in group for address in bind.addresses[:2])
        message = f"nothing that is imported lies behind {where}: left out"
        notes.remark(head.file, head.number, f"{proxy.kind} {proxy.name}", message)
        return
    if rules[-1].match not in (Match(), Match(tls=group[0].tls)):
        message = (
            "requests that no rule fits had no backend (503): here they go to the pool of the last rule; "
            "name another one in listener.pool"
        )
        notes.remark(head.file, head.number, f"{proxy.kind} {proxy.name}", message)
    listener = top.element("listener", f"{proxy.kind} {proxy.name} ({head})")
    wanted = f"{proxy.name}-tls" if group[0].tls and proxy.name in taken else proxy.name
    listener.set("name", own_name(wanted, taken))
    listener.set("bind", list(dict.fromkeys(address for bind in group for address in bind.addresses)))
    if proxy.mode == "tcp":
        listener.set("mode", "tcp", "mode tcp")
    listener.set("pool", rules[-1].backend, described(rules[-1]))
    _proxy_header(listener, proxy, group[0], notes)
    if group[0].tls:
        tls = listener.table("tls")
        tls.set("min_version", group[0].min_version)
        pairs = [{"cert": str(cert.absolute()), "key": str(key.absolute())} for cert, key in group[0].certificates]
        tls.set("certificates", pairs, "as crt; a file may hold chain and key both")
    for rule in rules[:-1] if rules[-1].match in (Match(), Match(tls=group[0].tls)) else rules:
        route = listener.element("route", described(rule))
        for key in KEYS:
            route.set(key, list(getattr(rule.match, key)) or None)
        route.set("pool", rule.backend)


def _proxy_header(listener: Table, proxy: Proxy, bind: Bind, notes: Notes) -> None:
    expected = [line for line in proxy.all("tcp-request connection") if line.words[2:4] == ("expect-proxy", "layer4")]
    networks = [network for line in expected for network in _sources(line)]
    if "accept-proxy" in bind.options or (expected and not networks):
        line = bind.line if "accept-proxy" in bind.options else expected[0]
        message = "haproxy believed everybody's PROXY header: here the private networks are; name your balancers"
        notes.remark(line.file, line.number, "bind accept-proxy", message)
        networks = _PRIVATE
    if networks:
        listener.set("proxy_protocol", "accept")
        listener.set("trusted", networks)


def _sources(line: Line) -> Iterator[str]:
    """The networks of ``expect-proxy layer4 if { src NETWORK... }``."""
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
