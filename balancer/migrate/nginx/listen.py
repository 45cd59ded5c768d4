"""``listen``: addresses, their protocols, and the ``server`` blocks that share them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from balancer.config.scalars import shown
from balancer.migrate.nginx.known import effect
from balancer.migrate.nginx.scalars import host_and_port, is_address, joined
from balancer.migrate.nginx.source import Directive
from balancer.migrate.outcome import Notes, Surroundings

_NOTHING_TO_TELL = ("ssl", "default_server", "default", "proxy_protocol", "reuseport", "ipv6only", "bind", "deferred")
_TOLD = {
    "http2": "HTTP/2 is not supported: clients use HTTP/1.1",
    "spdy": "SPDY is not supported: clients use HTTP/1.1",
    "quic": "HTTP/3 is not supported: clients use HTTP/1.1",
    "backlog": "length of the accept queue: the system's limit (net.core.somaxconn)",
    "rcvbuf": "buffer of the kernel: its default is used",
    "sndbuf": "buffer of the kernel: its default is used",
    "setfib": "routing table of the kernel: its default is used",
    "fastopen": "TCP Fast Open is not used",
    "accept_filter": "kernel filter: nothing to do",
    "so_keepalive": "TCP keep-alive: timeouts.tunnel_idle ends dead connections",
}


@dataclass(frozen=True)
class Listen:
    """One ``listen`` directive of a server."""

    address: str
    server: Directive
    tls: bool
    proxy_protocol: bool
    default: bool


@dataclass
class Door:
    """Addresses that are served alike and will become one listener."""

    addresses: list[str]
    servers: list[Directive]
    """The default server comes first."""
    tls: bool
    proxy_protocol: bool


def doors(servers: Sequence[Directive], surroundings: Surroundings, stream: bool, notes: Notes) -> list[Door]:
    """Return the future listeners of these ``server`` blocks."""
    every = [listen for server in servers for listen in _listens(server, surroundings, stream, notes)]
    addresses = {listen.address for listen in every}
    shared: dict[str, list[Listen]] = {}
    for listen in every:
        wildcard = re.sub(r".*:", "[::]:" if listen.address.startswith("[") else "0.0.0.0:", listen.address)
        if wildcard in addresses and wildcard != listen.address:
            message = (
                f"{listen.address} is part of {wildcard}: here they are one listener, and only hosts distinguish them"
            )
            notes.remark(listen.server.file, listen.server.line, "server listen", message)
        shared.setdefault(wildcard if wildcard in addresses else listen.address, []).append(listen)
    found: dict[object, Door] = {}
    for address, listens in shared.items():
        first = next((listen for listen in listens if listen.default), listens[0])
        others = [listen.server for listen in listens if listen.server is not first.server]
        tls = any(listen.tls for listen in listens)
        proxied = any(listen.proxy_protocol for listen in listens)
        members = list({id(server): server for server in (first.server, *others)}.values())
        key = (tls, proxied, tuple(map(id, members)))
        found.setdefault(key, Door([], members, tls, proxied)).addresses.append(address)
    return list(found.values())


def _listens(server: Directive, surroundings: Surroundings, stream: bool, notes: Notes) -> Iterator[Listen]:
    given = server.all("listen")
    if not given and not stream:
        yield Listen("0.0.0.0:80", server, tls=False, proxy_protocol=False, default=False)
    over_tls = server.last("ssl")
    for each in given:
        address = _address(each, surroundings, stream, notes)
        if address is None:
            continue
        options = each.args[1:]
        if "udp" in options:
            notes.remark(each.file, each.line, "listen udp", "UDP is not supported: not converted")
            continue
        for option in options:
            name = option.partition("=")[0]
            if name in _TOLD:
                notes.remark(each.file, each.line, f"listen {name}", _TOLD[name], effect(_TOLD[name]))
            elif name not in _NOTHING_TO_TELL:
                notes.problem(each.file, each.line, "listen", f"{shown(option)} is no parameter of listen")
        tls = "ssl" in options or (over_tls is not None and over_tls.args == ("on",))
        default = "default_server" in options or "default" in options
        yield Listen(address, server, tls, "proxy_protocol" in options, default)


def _address(directive: Directive, surroundings: Surroundings, stream: bool, notes: Notes) -> str | None:
    text = directive.args[0] if directive.args else ""
    if text.startswith("unix:"):
        notes.remark(
            directive.file, directive.line, "listen unix", "listeners on Unix sockets are not supported: not converted"
        )
        return None
    try:
        if text.isdigit():
            return joined("0.0.0.0", host_and_port(f"x:{text}", None)[1])
        host, port = host_and_port(text, None if stream else 80)
        if host == "*":
            return joined("0.0.0.0", port)
        if not is_address(host):
            found = surroundings.resolve(host)
            if not found:
                raise ValueError(f"{shown(host)} has no address here: write the IP address")
            host = found[0]
        return joined(host, port)
    except ValueError as error:
        notes.problem(directive.file, directive.line, "listen", str(error))
        return None
