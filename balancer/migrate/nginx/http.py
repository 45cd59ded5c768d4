"""Convert ``server`` and ``location`` to ``[[listener]]`` and its routes.

nginx first chooses the server by host: an exact name before ``*.name``, the longest of those first, the default server
last. Then the location by decoded path with merged slashes: an exact one (``=``) before the longest prefix, and
regular expressions in between, which have no counterpart here. Our routes are tried in order, on paths as received.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.names import own_name
from balancer.migrate.nginx.listen import Door
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.target import Goals, host_patterns, inherited
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import TomlTable

_PRIVATE = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"]
_HEADERS = ("host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "upgrade", "connection")
"""Headers that the daemon sends by itself."""
_HOSTS = ("$host", "$http_host", "${host}", "$host:$server_port", "$host:$proxy_port")


@dataclass(frozen=True)
class ProxyRule:
    """Requests by host and path, and the pool they go to."""

    pool: str
    where: Directive
    host: str = ""
    path: str = ""
    prefix: str = ""


def write_listener(top: TomlTable, http: Sequence[Directive], door: Door, goals: Goals, taken: set[str]) -> None:
    """Append the listener of a door, unless it proxies nothing."""
    notes = goals.notes
    sites = {id(server): _rules(server, [*http, server], goals) for server in door.servers}
    default, others = door.servers[0], door.servers[1:]
    for server in door.servers:
        if not sites[id(server)]:
            message = f"answers by itself or redirects ({_names(server)}), which the daemon cannot do: not converted"
            notes.remark(server.file, server.line, "server", message)
    ordered = list(_by_host(default, others, sites, goals))
    ordered += sites[id(default)]
    if not ordered:
        return
    last = ordered[-1]
    whole = not (last.host or last.path or last.prefix)
    if not whole:
        message = "nginx answered requests that no location proxies; here they go to the last pool (listener.pool)"
        notes.remark(default.file, default.line, "server", message)
    listener = top.element("listener", f"server {_names(default)} ({default})")
    listener.set("name", own_name(_listener_name(default, door), taken))
    listener.set("bind", door.addresses)
    listener.set("pool", last.pool, f"proxy_pass ({last.where})")
    _trust(listener, [*http, default], door, notes)
    if door.tls:
        write_tls(listener.table("tls"), http, door, goals)
    for rule in ordered[:-1] if whole else ordered:
        route = listener.element("route", f"{rule.where.name} {' '.join(rule.where.args)} ({rule.where})".strip())
        route.set("host", [rule.host] if rule.host else None)
        route.set("path", [rule.path] if rule.path else None)
        route.set("path_prefix", [rule.prefix] if rule.prefix else None)
        route.set("pool", rule.pool)


def write_tls(tls: TomlTable, http: Sequence[Directive], door: Door, goals: Goals) -> None:
    """Append the certificates and TLS versions of all servers of a door."""
    pairs: dict[tuple[str, str], None] = {}
    versions: set[str] = set()
    for server in door.servers:
        chain = [*http, server]
        certs, keys = inherited(chain, "ssl_certificate"), inherited(chain, "ssl_certificate_key")
        if len(certs) != len(keys):
            goals.notes.problem(server.file, server.line, "server", "each ssl_certificate needs an ssl_certificate_key")
        for cert, key in zip(certs, keys, strict=False):
            if any(not each.args or "$" in each.args[0] or ":" in each.args[0] for each in (cert, key)):
                message = "the certificate is computed or not in a file: add its file to listener.tls.certificates"
                goals.notes.remark(cert.file, cert.line, "ssl_certificate", message)
                continue
            pairs[str(goals.base / cert.args[0]), str(goals.base / key.args[0])] = None
        protocols = inherited(chain, "ssl_protocols")
        given = protocols[-1].args if protocols else ("TLSv1.2",)
        versions |= set(given)
        if protocols and {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"} & set(given):
            goals.notes.remark(
                protocols[-1].file, protocols[-1].line, "ssl_protocols", "TLS before 1.2 is not supported"
            )
    if not pairs:
        server = door.servers[0]
        goals.notes.problem(server.file, server.line, "server", "listens with ssl, but has no ssl_certificate")
    tls.set("min_version", "1.3" if versions == {"TLSv1.3"} else None)
    tls.set(
        "certificates",
        [{"cert": cert, "key": key} for cert, key in pairs],
        "the first one belongs to the default server",
    )


def _rules(server: Directive, chain: Sequence[Directive], goals: Goals) -> list[ProxyRule]:
    """Return what a server proxies, in the order in which our routes must be tried."""
    found = list(_locations(server, chain, goals))
    exact = [rule for rule in found if rule.path]
    prefixes = [rule for rule in found if not rule.path]
    # Of the rules that one location makes by a map, those with hosts come first.
    return exact + sorted(prefixes, key=lambda rule: (-len(rule.prefix), not rule.host))


def _locations(block: Directive, chain: Sequence[Directive], goals: Goals) -> Iterator[ProxyRule]:
    for location in block.all("location"):
        yield from _locations(location, [*chain, location], goals)
        kind, path = (
            ("", location.args[0]) if len(location.args) == 1 else location.args[:2] if location.args else ("", "")
        )
        proxy_pass = location.last("proxy_pass")
        where = (location.file, location.line, f"location {kind} {shown(path)}".replace("  ", " "))
        if kind in ("~", "~*"):
            goals.notes.remark(
                *where, "regular expressions are not supported: its requests go to the other locations of the server"
            )
        elif path.startswith("@") or kind not in ("", "=", "^~"):
            if path.startswith("@"):
                goals.notes.remark(*where, "serves internal redirects of nginx, which the daemon does not make")
            else:
                goals.notes.problem(*where, f"{shown(kind)} is no modifier of a location")
        elif proxy_pass is None:
            if not location.all("location"):
                goals.notes.remark(*where, "nginx answered without a backend; its requests go to shorter locations")
        else:
            inner = [*chain, location]
            _tell_headers(inner, proxy_pass, goals.notes)
            for host, goal in goals.named(proxy_pass, inner, stream=False):
                exact = kind == "="
                yield ProxyRule(goal.name, location, host, path if exact else "", "" if exact or path == "/" else path)


def _by_host(
    default: Directive, others: Sequence[Directive], sites: dict[int, list[ProxyRule]], goals: Goals
) -> Iterator[ProxyRule]:
    """Yield the rules of servers that are chosen by name."""
    named = [(pattern, server) for server in (*others, default) for pattern in _patterns(server, goals.notes)]
    wildcards = any(pattern.startswith("*") for pattern, server in named if server is not default)
    named.sort(key=lambda each: (each[0].startswith("*"), -len(each[0]) if each[0].startswith("*") else 0))
    seen: set[str] = set()
    for pattern, server in named:
        if pattern in seen or (server is default and not wildcards):
            continue
        seen.add(pattern)
        for rule in sites[id(server)]:
            yield ProxyRule(rule.pool, rule.where, rule.host or pattern, rule.path, rule.prefix)


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


def _tell_headers(chain: Sequence[Directive], proxy_pass: Directive, notes: Notes) -> None:
    given = inherited(chain, "proxy_set_header")
    if not any(each.args and each.args[0].lower() == "host" for each in given):
        message = "nginx sent the name in proxy_pass as Host; here backends get the client's Host"
        notes.remark(proxy_pass.file, proxy_pass.line, "proxy_pass", message)
    for each in given:
        name, value = (*each.args, "", "")[:2]
        if name.lower() == "host" and value not in _HOSTS:
            notes.remark(each.file, each.line, "proxy_set_header Host", "backends get the client's Host here")
        elif name.lower() not in _HEADERS:
            message = "not set: the daemon adds only X-Forwarded-For, -Proto, -Host and X-Request-ID"
            notes.remark(each.file, each.line, f"proxy_set_header {name}", message)


def _names(server: Directive) -> str:
    names = [name for each in server.all("server_name") for name in each.args if name]
    return " ".join(names[:3]) or "without a name"


def _listener_name(server: Directive, door: Door) -> str:
    names = [pattern for each in server.all("server_name") for pattern in each.args if pattern.strip("_~*.")]
    return names[0].lstrip("*.~") if names else f"port-{Path(door.addresses[0]).name.rpartition(':')[2]}"
