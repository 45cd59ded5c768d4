"""Convert ``upstream`` to ``[[pool]]``: its method and its servers.

``hash ... consistent`` makes points from the text of each server as written; a server marked ``down``
keeps its points and is skipped, which is the same as having none. Parameters (``$arg_x``) are found in any case
of their name, the first one counts, nothing is decoded, and all requests without one go to the same server. The
other hashes (``hash`` without ``consistent``, ``ip_hash``) are taken modulo the sum of the weights.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from balancer.config.scalars import shown
from balancer.config.section import MAX_CONNECTIONS
from balancer.migrate.names import own_name
from balancer.migrate.nginx.scalars import host_and_port, is_address, joined, milliseconds, number
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.variable import Maps, places
from balancer.migrate.outcome import Effect, Notes, Surroundings
from balancer.migrate.toml import TomlTable

_LONGEST = 65536
_FIRST = {"duplicates": "first"}
_PARAM = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_METHODS = ("hash", "ip_hash", "least_conn", "random")
_CHOICES = {
    "least_conn": "sends each request to the server with the fewest connections: here they take turns",
    "random": "draws servers at random: here they take turns",
}
_FAILURES = (
    "when to avoid a server after failures: here an unreachable one is skipped at once; see "
    "pool.health for probes and pool.health.passive for failing traffic"
)
_OPTIONS = {
    "slow_start": "see pool.health.slow_start, which applies to all servers",
    "resolve": "names are resolved once, on import",
    "service": "names are resolved once, on import",
    "route": "for sticky route of nginx Plus: here the token decides",
    "drain": "drain it with: balancer backend drain NAME",
}


@dataclass
class NginxServer:
    """One ``server`` of an upstream."""

    text: str
    """Its address as written."""
    directive: Directive
    weight: int = 1
    backup: bool = False
    down: bool = False
    most: int = 0
    """Concurrent connections; 0 is no limit."""


@dataclass
class Upstream:
    """An ``upstream``, or the equivalent of a ``proxy_pass`` to an address."""

    name: str
    directive: Directive
    stream: bool
    servers: list[NginxServer] = field(default_factory=list)
    method: Directive | None = None
    default_port: int = 80
    sticky: Directive | None = None
    """What keeps users on their server, of nginx Plus."""


def upstream(directive: Directive, stream: bool, notes: Notes) -> Upstream | None:
    """Read an ``upstream`` block. Errors go to ``notes``."""
    if len(directive.args) != 1:
        notes.problem(directive.file, directive.line, "upstream", "expected one name")
        return None
    found = Upstream(directive.args[0], directive, stream)
    for each in directive.block or ():
        if each.name == "server":
            server = _server(each, notes)
            if server is not None:
                found.servers.append(server)
        elif each.name in _METHODS:
            if found.method is not None:
                notes.problem(each.file, each.line, each.name, f"the method is set twice, first at {found.method}")
            found.method = each
        elif each.name == "sticky":
            found.sticky = each
    if not found.servers:
        notes.problem(directive.file, directive.line, f"upstream {found.name}", "has no server")
    return found


def single(text: str, directive: Directive, stream: bool, port: int) -> Upstream:
    """Return the upstream for a ``proxy_pass`` to an address."""
    return Upstream(text, directive, stream, [NginxServer(text, directive)], default_port=port)


def write_pool(
    top: TomlTable, name: str, given: Upstream, maps: Maps, surroundings: Surroundings, notes: Notes
) -> TomlTable:
    """Append the pool; the caller adds the settings of the location. ``maps`` are those of its block."""
    kind = "upstream" if given.directive.name == "upstream" else "proxy_pass to"
    pool = top.element("pool", f"{kind} {given.name} ({given.directive})")
    pool.set("name", name, "" if name == given.name else f"in place of {given.name}")
    hashed = _method(pool, given, maps, notes)
    taken: set[str] = set()
    texts: dict[str, NginxServer] = {}
    for server in given.servers:
        if server.down:
            where = f"{server.directive.file}:{server.directive.line}"
            message = f"{server.text} is down: not converted, which moves no user; add it unchanged when it returns"
            notes.remark(server.directive.file, server.directive.line, "server down", message)
            pool.comment += f"\n{server.text} ({where}) is marked down and was not converted."
            continue
        found = _address(server, given, surroundings, notes)
        if found is None:
            continue
        address, comment = found
        if hashed and (twin := texts.setdefault(server.text, server)) is not server:
            message = (
                f"is in line {twin.directive.line} already, and has the same points: left out, which moves no user"
            )
            notes.remark(server.directive.file, server.directive.line, "server", message, Effect.CHANGED)
            continue
        backend = pool.element("backend")
        backend.set("name", own_name(re.sub(r"[^A-Za-z0-9.-]+", "-", server.text.removeprefix("unix:")), taken))
        backend.set("address", address, comment)
        backend.set("weight", server.weight if server.weight != 1 else None)
        backend.set("backup", True if server.backup else None)
        backend.set("max_connections", min(server.most, MAX_CONNECTIONS) or None, "max_conns")
        if hashed and server.text != address:
            backend.set("server", server.text, "its points are computed from this text: do not change it")
    return pool


def _instead(method: str, servers: Sequence[NginxServer]) -> str:
    """Return what to do in nginx and what it costs: two independent placements agree only by chance."""
    weights = [server.weight for server in servers if not server.backup and not server.down]
    whole = sum(weights)
    moved = 1 - sum((weight / whole) ** 2 for weight in weights) if whole else 0.0
    return (
        f"Change nginx to {method} first and import again. That moves about {moved:.0%} of the users once, "
        "so choose a quiet time; the switch to the balancer then moves no user"
    )


def _method(pool: TomlTable, given: Upstream, maps: Maps, notes: Notes) -> bool:
    """Write ``pool.token`` and ``pool.ring``; return whether nginx's ring places users."""
    method, token, ring = given.method, pool.table("token"), pool.table("ring")
    if method is not None and method.name == "hash" and len(method.args) in (1, 2):
        if method.args[1:] == ("consistent",):
            if _key(token, method, given.stream, maps, notes):
                ring.set("algorithm", "nginx", f"hash ... consistent ({method})")
            return True
        message = (
            "hash without consistent is not supported: it moves nearly all users with each change of servers. "
            + _instead(f"hash {method.args[0]} consistent", given.servers)
        )
        notes.problem(method.file, method.line, "hash", message)
        return False
    if method is not None and method.name == "ip_hash":
        message = (
            "here as hash $remote_addr consistent: ip_hash moves nearly all users with each change of servers, and "
            "ignores the last byte of IPv4 addresses. " + _instead("hash $remote_addr consistent", given.servers)
        )
        notes.remark(method.file, method.line, "ip_hash", message)
        token.set("source", "client_ip", "ip_hash")
        ring.set("algorithm", "nginx", "as hash $remote_addr consistent")
        return True
    if method is not None and method.name == "hash":
        notes.problem(method.file, method.line, "hash", "expected a key, optionally followed by consistent")
        return False
    if given.sticky is not None and given.sticky.args[:1] == ("cookie",) and len(given.sticky.args) > 1:
        token.set("source", "none", f"sticky cookie ({given.sticky})")
        token.set("missing", "assign")
        token.set("remember", given.sticky.args[1])
        message = "names the server: here it holds a token of ours, so users are placed anew once"
        notes.remark(given.sticky.file, given.sticky.line, "sticky", message, Effect.CHANGED)
        return False
    if method is not None:
        notes.remark(method.file, method.line, method.name, _CHOICES[method.name], Effect.CHANGED)
    if given.sticky is not None:
        message = "keeps users on their server, and this way has no counterpart: see pool.token"
        notes.remark(given.sticky.file, given.sticky.line, "sticky", message)
    pool.set("balance", "turns", "to give users a host of their own, see pool.token")
    return False


def _key(token: TomlTable, method: Directive, stream: bool, maps: Maps, notes: Notes) -> bool:
    key = method.args[0]
    try:
        first, *others = places(key, maps)
        if first.variable == "remote_addr" or (stream and first.variable == "ssl_preread_server_name"):
            token.set("source", "client_ip", f"hash {key}" if first.variable == "remote_addr" else "")
            return True
        if first.variable == "request_uri" and not stream:
            token.set("source", "uri", f"hash {key}")
            return True
        comments = {
            "source": f"hash {key}",
            "param": f"hash {key}, nginx ignores the case of the name, here it matters",
        }
        for name, value in _place(first.variable, stream).items():
            if name != "source" or value != "query":
                token.set(name, value, comments.get(name, ""))
        if others:
            fallback = [{**_place(each.variable, stream), **_FIRST} for each in others]
            token.set("fallback", fallback, f"map, in the order in which they are tried ({others[0].where})")
    except ValueError as error:
        notes.problem(method.file, method.line, "hash", str(error))
        return False
    token.set("missing", "spread", "requests without it have no user; nginx sends them all to one server")
    token.set("duplicates", "first", "as in nginx")
    token.set("max_length", _LONGEST, "nginx has no limit")
    return True


def _place(variable: str, stream: bool) -> dict[str, str]:
    """The keys of a place; raise ``ValueError`` for a variable that is not found in requests."""
    kind, _, name = variable.partition("_")
    if kind == "arg" and not stream and _PARAM.fullmatch(name):
        return {"source": "query", "param": name}
    if kind == "http" and not stream and name:
        return {"source": "header", "header": name.replace("_", "-")}
    if kind == "cookie" and not stream and name:
        return {"source": "cookie", "cookie": name}
    raise ValueError(
        f"the value of {shown('$' + variable)} cannot be computed here, so users would be placed elsewhere"
    )


def _server(directive: Directive, notes: Notes) -> NginxServer | None:
    if not directive.args:
        notes.problem(directive.file, directive.line, "server", "expected an address")
        return None
    server = NginxServer(directive.args[0], directive)
    for option in directive.args[1:]:
        name, equals, value = option.partition("=")
        try:
            if option in ("backup", "down"):
                setattr(server, option, True)
            elif name == "weight" and equals:
                server.weight = number(value, 1, 65535)
            elif name == "max_conns" and equals:
                server.most = number(value, 0, 2**31 - 1)
            elif name in ("max_fails", "fail_timeout") and equals:
                _ = number(value, 0, 2**31) if name == "max_fails" else milliseconds(value)
                notes.remark(directive.file, directive.line, f"server {name}", _FAILURES, Effect.CHANGED)
            elif name in _OPTIONS:
                notes.remark(directive.file, directive.line, f"server {name}", _OPTIONS[name])
            else:
                notes.problem(directive.file, directive.line, "server", f"{shown(option)} is not a parameter of server")
        except ValueError as error:
            notes.problem(directive.file, directive.line, f"server {name}", str(error))
    if server.weight > 256:
        message = f"the weight {server.weight} is above 256: divide all weights in nginx first, which moves users"
        notes.problem(directive.file, directive.line, "server weight", message)
    return server


def _address(server: NginxServer, given: Upstream, surroundings: Surroundings, notes: Notes) -> tuple[str, str] | None:
    """Return the address as our configuration writes it, and a comment."""
    where = server.directive
    if server.text.startswith("unix:"):
        return server.text, ""
    try:
        host, port = host_and_port(server.text, None if given.stream else given.default_port)
    except ValueError as error:
        notes.problem(where.file, where.line, "server", str(error))
        return None
    if is_address(host):
        return joined(host, port), ""
    found: Sequence[str] = surroundings.resolve(host)
    if not found:
        message = f"{shown(host)} cannot be resolved here: write the IP address, or import where it can be resolved"
        notes.problem(where.file, where.line, "server", message)
        return None
    if len(found) > 1:
        message = f"{host} has {len(found)} addresses, between which nginx rotates: here only the first one is used"
        notes.remark(where.file, where.line, "server", message)
    return joined(found[0], port), f"{host} at the time of the import: names are not resolved later"
