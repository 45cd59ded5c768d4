"""Convert a backend, or the half of a ``listen`` with the servers, to a ``[[pool]]``."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from balancer.config.scalars import shown
from balancer.migrate.haproxy.balance import write_balance
from balancer.migrate.haproxy.bind import Bases
from balancer.migrate.haproxy.fields import Changes
from balancer.migrate.haproxy.health import write_difference, write_health
from balancer.migrate.haproxy.limits import limit, write_limits
from balancer.migrate.haproxy.persistence import AssignedCookie
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import is_address
from balancer.migrate.haproxy.server import OPTIONS, HaproxyServer, effect
from balancer.migrate.names import own_name
from balancer.migrate.outcome import Notes, Surroundings
from balancer.migrate.toml import TomlTable

_SNI_NAME = re.compile(r"str\((?:'([^']*)'|\"([^\"]*)\"|([^()]*))\)")
_BY_ID = "\nPlacement depends on the ids of servers: give a new server a new id, and the other users stay."
_BY_ORDER = "\nPlacement depends on the order and weights of servers: any change of them moves nearly all users."
_HASH_KEYS = ("id", "addr", "addr-port", "id32", "guid")


@dataclass(frozen=True)
class Target:
    """What a pool needs besides its own section."""

    surroundings: Surroundings
    bases: Bases
    verify: bool
    """Whether certificates of servers are verified by default (``ssl-server-verify``)."""
    spread: int
    """By how many percent checks are spread."""
    fronts: Sequence[Proxy]
    """The proxies that lead to the backend."""
    rewritten: frozenset[str]
    """What rules change of requests before they are hashed, by key of a condition."""
    ports: frozenset[int]
    """Ports of the frontends that use the backend, which are those of servers without a port."""
    changes: Changes
    """What the backend does to header fields."""
    cookie: AssignedCookie | None
    """The cookie that assigns users a token, if the backend has one for its servers."""


def write_pool(
    top: TomlTable, name: str, proxy: Proxy, servers: Sequence[HaproxyServer], target: Target, notes: Notes
) -> None:
    """Append the pool."""
    pool = top.element("pool", f"{proxy.kind} {proxy.name} ({proxy.head})")
    pool.set("name", name, "" if name == proxy.name else f"in place of {proxy.name}")
    _options(servers, notes)
    hashed = write_balance(pool, proxy, target.fronts, target.rewritten, target.cookie, notes)
    if hashed:
        _hash_key(pool, servers, notes)
        by_id = any(line.words[1:2] == ("consistent",) for line in proxy.all("hash-type")[-1:])
        pool.comment += _BY_ID if by_id else _BY_ORDER
    _proxy_header(pool, servers, notes)
    target.changes.request.write(pool, "request_fields")
    target.changes.response.write(pool, "response_fields")
    _tls(pool, servers, target, notes)
    _backups(proxy, servers, notes)
    common_limit = write_limits(pool, proxy, servers, hashed, notes)
    common = write_health(pool, proxy, servers, target.spread, notes)
    taken: set[str] = set()
    for server in servers:
        address, comment = _address(server, target, notes)
        if address is None:
            continue
        table = pool.element("backend")
        own = own_name(server.name, taken)
        table.set("name", own, "" if own == server.name else f"in place of {server.name}")
        table.set("address", address, comment)
        _check_address(table, server, address, notes)
        _weight(table, server, notes)
        if hashed:
            table.set("id", server.number, "" if server.get("id") else "as haproxy numbers it")
            table.set("guid", server.get("guid") if server.get("hash-key") == "guid" else None)
        if (sni := _sni(server)) and len({_sni(each) for each in servers}) > 1:
            table.set("server_name", sni)
        table.set("max_connections", limit(server) if limit(server) != common_limit else None)
        write_difference(table, server, common, notes)


def usable(servers: Sequence[HaproxyServer]) -> bool:
    """Return whether there is an active server."""
    return any(server.weight and server.get("disabled") is None and server.get("backup") is None for server in servers)


def _options(servers: Sequence[HaproxyServer], notes: Notes) -> None:
    for server in servers:
        for option, (_, line) in server.options.items():
            if option in OPTIONS and (message := OPTIONS[option][1]):
                notes.remark(line.file, line.number, f"server {option}", message, effect(option))


def _backups(proxy: Proxy, servers: Sequence[HaproxyServer], notes: Notes) -> None:
    line = proxy.last("option allbackups")
    if line is not None and sum(server.get("backup") is not None for server in servers) > 1:
        message = "uses all backups at once: here the first one that is up gets all users"
        notes.remark(line.file, line.number, "option allbackups", message)


def _hash_key(pool: TomlTable, servers: Sequence[HaproxyServer], notes: Notes) -> None:
    keys = {server.get("hash-key") or "id" for server in servers}
    ring = next(table for table in pool.tables if table.header == "[pool.ring]")
    if keys != {"id"}:
        if len(keys) > 1 or not keys <= set(_HASH_KEYS):
            line = servers[0].line
            message = f"a pool has one value of {', '.join(_HASH_KEYS)}, not {', '.join(sorted(keys))}"
            notes.problem(line.file, line.number, "server hash-key", message)
        ring.set("hash_key", min(keys))


def _proxy_header(pool: TomlTable, servers: Sequence[HaproxyServer], notes: Notes) -> None:
    def version(server: HaproxyServer) -> str:
        if any(server.get(word) is not None for word in OPTIONS if word.startswith("send-proxy-v2")):
            return "v2"
        return "off" if server.get("send-proxy") is None else "v1"

    _one(pool, "send_proxy", "off", servers, [version(each) for each in servers], "send-proxy", notes)


def _one(
    table: TomlTable,
    key: str,
    default: object,
    servers: Sequence[HaproxyServer],
    given: Sequence[str],
    what: str,
    notes: Notes,
) -> None:
    """Set a key of the pool from its servers, which must agree."""
    common = Counter(given).most_common(1)[0][0]
    for server, value in zip(servers, given, strict=True):
        if value != common:
            message = f"a pool has one value, here {common}: move this server to its own backend section"
            notes.problem(server.line.file, server.line.number, f"server {what}", message)
    if common != default:
        table.set(key, common, what)


def _tls(pool: TomlTable, servers: Sequence[HaproxyServer], target: Target, notes: Notes) -> None:
    tls = pool.table("tls")
    over_tls = [server for server in servers if server.get("ssl") is not None]
    if not over_tls:
        return
    if len(over_tls) < len(servers):
        server = next(each for each in servers if each not in over_tls)
        message = "other servers of this backend use TLS and this one does not: move it to its own backend section"
        notes.problem(server.line.file, server.line.number, "server ssl", message)
    first = over_tls[0]
    tls.set("enabled", True, "ssl")
    verify = {(server.get("verify") or ("required" if target.verify else "none")) for server in over_tls}
    if "required" not in verify:
        tls.set("verify", False, "verify none")
    if (authority := first.get("ca-file")) and not authority.startswith("@"):
        tls.set("ca_file", str(target.bases.authority(authority).absolute()))
    names = {_sni(server) for server in over_tls}
    tls.set("server_name", names.pop() if len(names) == 1 else None)
    for server in over_tls:
        if _sni(server) is None and "required" in verify:
            message = "haproxy checked no name: set pool.tls.server_name, or have the address in the certificate"
            notes.remark(server.line.file, server.line.number, "server verify", message)
        elif server.get("sni") is not None and _SNI_NAME.fullmatch(server.get("sni") or "") is None:
            message = "the name is computed for each request: here it is always pool.tls.server_name"
            notes.remark(server.line.file, server.line.number, "server sni", message)
    if certificate := first.get("crt"):
        path = str(target.bases.certificate(certificate).absolute())
        tls.set("cert", path)
        tls.set("key", path)


def _sni(server: HaproxyServer) -> str | None:
    found = _SNI_NAME.fullmatch(server.get("sni") or "")
    given = next((each for each in found.groups() if each), None) if found else None
    return given or server.get("verifyhost") or None


def _address(server: HaproxyServer, target: Target, notes: Notes) -> tuple[str | None, str]:
    """Return the address as our configuration writes it, and a comment; None if there is none, which is reported."""

    def problem(message: str) -> tuple[None, str]:
        notes.problem(server.line.file, server.line.number, f"server {server.name}", message)
        return None, ""

    where = server.where
    if where.path:
        return f"unix:{where.path}", ""
    port = where.first
    if port is None or where.relative or port == 0:
        if len(target.ports) != 1:
            return problem(
                "it uses the port that the client connected to, and there are several: write the server's port"
            )
        port = next(iter(target.ports)) + (port or 0)
    host, comment = where.host, ""
    if not host:
        return problem("it uses the address that the client connected to: write the server's address")
    if where.is_name:
        found = target.surroundings.resolve(where.host)
        if len(found) <= server.slot:
            if server.slot and found:
                text = f"this slot of server-template is empty: the name has {len(found)} addresses"
                notes.remark(server.line.file, server.line.number, f"server-template {server.name}", text)
                return None, ""
            return problem(
                f"{shown(where.host)} cannot be resolved here: write the IP address, or import where it can be resolved"
            )
        host, comment = found[server.slot], f"{where.host} at the time of the import: names are not resolved later"
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}"), comment


def _check_address(table: TomlTable, server: HaproxyServer, address: str, notes: Notes) -> None:
    host, port = server.get("addr"), server.get("port")
    if server.get("check") is None or (host is None and port is None):
        return
    own_host, _, own_port = address.rpartition(":")
    bare = (host or own_host).strip("[]")
    if host is not None and not is_address(bare):
        line = server.options["addr"][1]
        notes.problem(
            line.file, line.number, "server addr", f"{shown(host)} is not an IP address: names are not resolved"
        )
        return
    table.set("check_address", f"{f'[{bare}]' if ':' in bare else bare}:{port or own_port}", "addr and port")


def _weight(table: TomlTable, server: HaproxyServer, notes: Notes) -> None:
    if server.get("backup") is not None:
        table.set("backup", True)
        if server.get("disabled") is not None or not server.weight:
            message = "is disabled, which backups cannot be: it may get users when no other server is left"
            notes.remark(server.line.file, server.line.number, "server disabled", message)
    elif server.get("disabled") is not None:
        table.set(
            "weight",
            0,
            f"disabled; enable it with: balancer backend weight {table.keys['name'][0]} {server.weight}",
        )
    elif server.weight != 1:
        table.set("weight", server.weight)
