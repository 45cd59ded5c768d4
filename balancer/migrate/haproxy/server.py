"""The servers of a backend, from ``server``, ``default-server`` and ``server-template`` (haproxy 2.6, 5.2)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from balancer.config.scalars import shown
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import Where, number, where
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Effect, Notes
from balancer.ring.haproxy import server_ids

_VERSIONS = "TLS versions: pool.tls supports 1.2 and newer"
_POOL = "how many connections to the server are kept: idle ones are always reused"
_DNS = "how the name is resolved at run time: it was resolved once, on import"
_COOKIE = "sticky sessions: here the token, open connections and pins decide"
_TLS = "TLS setting: the daemon uses OpenSSL's secure defaults"
_H1 = "protocol to the server: it is HTTP/1.1"
_CHECK = "how checks connect: see pool.health"
_TEMPLATE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_MAX_WEIGHT = 256
_MAX_SLOTS = 1024

OPTIONS: dict[str, tuple[int, str]] = {
    "addr": (1, ""),
    "agent-addr": (1, "the agent is queried at the address of the server"),
    "agent-check": (0, ""),
    "agent-inter": (1, ""),
    "agent-port": (1, ""),
    "agent-send": (1, "sends a text to the agent: nothing is sent"),
    "allow-0rtt": (0, _TLS),
    "alpn": (1, _H1),
    "backup": (0, ""),
    "ca-file": (1, ""),
    "check": (0, ""),
    "check-alpn": (1, _CHECK),
    "check-pool-conn-name": (1, _CHECK),
    "check-proto": (1, _CHECK),
    "check-reuse-pool": (0, _CHECK),
    "check-send-proxy": (0, ""),
    "check-sni": (1, ""),
    "check-ssl": (0, ""),
    "check-via-socks4": (0, _CHECK),
    "ciphers": (1, _TLS),
    "ciphersuites": (1, _TLS),
    "client-sigalgs": (1, _TLS),
    "cookie": (1, ""),
    "crl-file": (1, _TLS),
    "crt": (1, ""),
    "curves": (1, _TLS),
    "disabled": (0, ""),
    "downinter": (1, ""),
    "enabled": (0, ""),
    "error-limit": (1, ""),
    "fall": (1, ""),
    "fastinter": (1, ""),
    "force-sslv3": (0, _VERSIONS),
    "force-tlsv10": (0, _VERSIONS),
    "force-tlsv11": (0, _VERSIONS),
    "force-tlsv12": (0, _VERSIONS),
    "force-tlsv13": (0, _VERSIONS),
    "guid": (1, ""),
    "hash-key": (1, ""),
    "id": (1, ""),
    "idle-ping": (1, _POOL),
    "init-addr": (1, _DNS),
    "init-state": (1, "state before the first check: a host gets no users before its first verdict"),
    "inter": (1, ""),
    "ktls": (1, _TLS),
    "log-bufsize": (1, "for log servers: nothing to do"),
    "log-proto": (1, "for log servers: nothing to do"),
    "max-reuse": (1, _POOL),
    "maxconn": (1, ""),
    "maxqueue": (1, ""),
    "minconn": (1, "a limit that grows with the load: use a fixed one"),
    "namespace": (1, "network namespace: it is always that of the daemon"),
    "no-renegotiate": (0, _TLS),
    "non-stick": (0, _COOKIE),
    "npn": (1, _TLS),
    "observe": (1, ""),
    "on-error": (1, ""),
    "on-marked-down": (1, ""),
    "on-marked-up": (1, "closes connections to backups: such tunnels stay until they end"),
    "pool-conn-name": (1, _POOL),
    "pool-low-conn": (1, _POOL),
    "pool-max-conn": (1, _POOL),
    "pool-purge-delay": (1, _POOL),
    "port": (1, ""),
    "proto": (1, _H1),
    "proxy-v2-options": (1, "adds fields to the PROXY header: it has addresses only"),
    "redir": (1, "redirects to the server instead of proxying: let the backends redirect"),
    "renegotiate": (0, _TLS),
    "resolve-net": (1, _DNS),
    "resolve-opts": (1, _DNS),
    "resolve-prefer": (1, _DNS),
    "resolvers": (1, _DNS),
    "rise": (1, ""),
    "send-proxy": (0, ""),
    "send-proxy-v2": (0, ""),
    "send-proxy-v2-ssl": (0, ""),
    "send-proxy-v2-ssl-cn": (0, ""),
    "set-proxy-v2-tlv-fmt": (1, "adds fields to the PROXY header: it has addresses only"),
    "shard": (1, "for peers, which do not exist here"),
    "sigalgs": (1, _TLS),
    "slowstart": (1, ""),
    "sni": (1, ""),
    "sni-auto": (0, "the Host of each request as SNI: here it is always pool.tls.server_name"),
    "check-sni-auto": (0, "the Host of the check as SNI: see pool.health.tls.server_name"),
    "socks4": (1, "SOCKS4 is not supported: route to the host directly"),
    "source": (1, "source address of connections: set it in the route (ip route)"),
    "ssl": (0, ""),
    "ssl-max-ver": (1, _VERSIONS),
    "ssl-min-ver": (1, _VERSIONS),
    "ssl-reuse": (0, _TLS),
    "sslv3": (0, _VERSIONS),
    "stick": (0, _COOKIE),
    "strict-maxconn": (0, "counts connections instead of requests: here requests in flight and tunnels count"),
    "tcp-md5sig": (1, "signed TCP segments are not supported"),
    "tcp-ut": (1, "timeout of unacknowledged data: see timeouts.tunnel_idle"),
    "tfo": (0, "TCP Fast Open is not used"),
    "tls-tickets": (0, _TLS),
    "tlsv10": (0, _VERSIONS),
    "tlsv11": (0, _VERSIONS),
    "tlsv12": (0, _VERSIONS),
    "tlsv13": (0, _VERSIONS),
    "track": (1, "copies the state of another server: each server is probed"),
    "usesrc": (1, "connects from the client's address: use send_proxy or X-Forwarded-For"),
    "verify": (1, ""),
    "verifyhost": (1, ""),
    "weight": (1, ""),
    "ws": (1, _H1),
}
"""Options of a server: the number of arguments and a message, which is empty if the option is converted."""


def effect(option: str) -> Effect:
    """Return what it means that an option was left out."""
    message = OPTIONS[option][1]
    return Effect.NONE if message in (_TLS, _POOL, _DNS) or "nothing to do" in message else Effect.TRAFFIC


@dataclass(frozen=True)
class HaproxyServer:
    """A server with all its options, including those of ``default-server``."""

    name: str
    line: Line
    where: Where
    options: Mapping[str, tuple[str, Line]]
    """Argument (empty for a flag) and line."""
    number: int = 0
    """Its id, as given or as haproxy numbers it."""
    slot: int = 0
    """Its index in a template, from 0."""

    def get(self, option: str) -> str | None:
        """Return the argument of an option, the empty string for a flag, or None."""
        found = self.options.get(option)
        return found[0] if found else None

    @property
    def weight(self) -> int:
        """Return the weight as written, also of a disabled server."""
        return int(self.get("weight") or 1)


def servers(proxy: Proxy, notes: Notes) -> list[HaproxyServer]:
    """Return the servers of a proxy in order, with their ids."""
    found: list[HaproxyServer] = []
    defaults: dict[str, tuple[str, Line]] = {}
    for line in (*proxy.inherited, *proxy.own):
        try:
            match line.words:
                case ["default-server", *_]:
                    defaults = dict(_merged(defaults, _options(line, 1)))
                case ["server", name, address, *_]:
                    given = _merged(defaults, _options(line, 3))
                    found.append(HaproxyServer(name, line, where(address), given))
                case ["server-template", prefix, count, address, *_]:
                    given = _merged(defaults, _options(line, 4))
                    found += _template(HaproxyServer(prefix, line, where(address), given), count)
                case ["server" | "server-template", *_]:
                    raise ValueError("expected a name and an address")
        except ValueError as error:
            notes.problem(line.file, line.number, " ".join(line.words[:2]), str(error))
    _unique(found, notes)
    numbers = server_ids([int(text) if (text := each.get("id")) else None for each in found])
    return [replace(each, number=number) for each, number in zip(found, numbers, strict=True)]


def _options(line: Line, start: int) -> Iterator[tuple[str, str, Line]]:
    words = iter(line.words[start:])
    for word in words:
        if word.startswith("no-") and word not in OPTIONS and word[3:] in OPTIONS:
            yield word, "", line
            continue
        if word not in OPTIONS:
            close = get_close_matches(word, OPTIONS, 1)
            hint = f"; did you mean {shown(close[0])}?" if close else ""
            raise ValueError(f"{shown(word)} is not an option of server{hint}")
        arity, _ = OPTIONS[word]
        argument = next(words, None) if arity else ""
        if argument is None:
            raise ValueError(f"{word} needs an argument")
        _check(word, argument)
        yield word, argument, line


def _check(option: str, argument: str) -> None:
    match option:
        case "weight":
            number(argument, 0, _MAX_WEIGHT)
        case "id":
            number(argument, 1, 2**31 - 1)
        case "port" | "agent-port":
            number(argument, 1, 65535)
        case "rise" | "fall" | "error-limit":
            number(argument, 1, 2**31 - 1)
        case "maxconn" | "maxqueue":
            number(argument, 0, 2**31 - 1)
        case "verify" if argument not in ("none", "required"):
            raise ValueError(f"expected verify none or required, not {shown(argument)}")


def _merged(
    defaults: Mapping[str, tuple[str, Line]], given: Iterator[tuple[str, str, Line]]
) -> dict[str, tuple[str, Line]]:
    merged = dict(defaults)
    for option, argument, line in given:
        if option.startswith("no-") and option not in OPTIONS:
            merged.pop(option[3:], None)
        elif option == "enabled":
            merged.pop("disabled", None)
        else:
            merged[option] = (argument, line)
    return merged


def _template(server: HaproxyServer, count: str) -> Iterator[HaproxyServer]:
    match = _TEMPLATE.fullmatch(count)
    low, high = (
        (1, int(match[1])) if match and match[2] is None else (int(match[1]), int(match[2])) if match else (1, 0)
    )
    if not low <= high < low + _MAX_SLOTS:
        raise ValueError(f"expected a number of servers such as 3 or 1-3, {_MAX_SLOTS} at most, not {shown(count)}")
    for slot in range(high - low + 1):
        options = {name: given for name, given in server.options.items() if name != "id" or slot == 0}
        yield replace(server, name=f"{server.name}{low + slot}", options=options, slot=slot)


def _unique(found: list[HaproxyServer], notes: Notes) -> None:
    names: dict[str, HaproxyServer] = {}
    numbers: dict[str, HaproxyServer] = {}
    for server in found:
        for what, key, others in (("name", server.name, names), ("id", server.get("id"), numbers)):
            if key is not None and (twin := others.setdefault(key, server)) is not server:
                message = f"the {what} {shown(key)} is already used by the server in line {twin.line}"
                notes.problem(server.line.file, server.line.number, f"server {server.name}", message)
