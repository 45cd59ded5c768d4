"""What keeps users on a server where no hash places them: ``cookie``, and ``stick`` by address (haproxy 2.6, 4.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.server import HaproxyServer
from balancer.migrate.haproxy.words import Line
from balancer.migrate.names import own_name
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.toml import TomlTable


@dataclass(frozen=True)
class AssignedCookie:
    """A cookie that assigns users a token."""

    name: str
    over_tls: bool
    """Whether all clients come over TLS."""


_MODES = ("insert", "rewrite", "prefix")
_OF_COOKIE = {
    "dynamic": "",
    "httponly": "",
    "indirect": "",
    "insert": "",
    "nocache": "",
    "prefix": "is added to the application's own cookie: here it is one of the balancer's own",
    "rewrite": "is set when the application sets it: here with the first answer of a user",
    "preserve": "may be set by the application: here no host can set it",
    "postonly": "is set by answers to POST only: here by the first answer of a user",
    "secure": "",
    "domain": "is of a whole domain: here of one host",
    "maxidle": "ends after some time: here with the browser's session, or after 30 days",
    "maxlife": "ends after some time: here with the browser's session, or after 30 days",
}
"""Options of ``cookie``, and what is different here."""
_WITH_ARGUMENT = ("domain", "maxidle", "maxlife", "attr")
_BY_ADDRESS = ("on", "match", "store-request")


def cookie_names(proxies: Sequence[Proxy], members: Mapping[str, Sequence[HaproxyServer]]) -> dict[str, str]:
    """Return the name of the cookie that assigns users of each backend a token; each pool has one of its own."""
    taken: set[str] = set()
    found = {}
    for proxy in proxies:
        line = proxy.last("cookie") if proxy.balances and proxy.mode == "http" else None
        if line is not None and len(line.words) > 1 and _names_servers(line, members.get(proxy.name, ())):
            # The cookie of mode "prefix" is the application's, which has to reach it.
            wanted = f"{line.words[1]}-SRV" if "prefix" in line.words else line.words[1]
            found[proxy.name] = own_name(wanted, taken)
    return found


def by_address(proxy: Proxy) -> bool:
    """Return whether a stick-table keeps addresses on their servers, and nothing else."""
    lines = proxy.all("stick")
    kinds = [line.words[1] if len(line.words) > 1 else "" for line in lines]
    return bool(lines) and all(
        kind in _BY_ADDRESS and line.words[2:3] == ("src",) and len(line.words) == 3
        for kind, line in zip(kinds, lines, strict=True)
    )


def write_cookie(token: TomlTable, line: Line, cookie: AssignedCookie, notes: Notes) -> None:
    """Write the token that users get in a cookie of ours."""
    token.set("source", "none", f"cookie {line.words[1]} ({line})")
    token.set("missing", "assign")
    token.set("remember", cookie.name)
    rest = iter(line.words[2:])
    told = [] if set(_MODES) & set(line.words) else ["is set by the application: here it is one of the balancer's own"]
    for word in rest:
        argument = next(rest, "") if word in _WITH_ARGUMENT else ""
        if word == "attr" and argument.lower().replace(" ", "") == "samesite=none":
            token.set("remember_same_site", "none" if cookie.over_tls else None)
        elif message := _OF_COOKIE.get(word, ""):
            told.append(message)
    told.append("names the server: here it holds a token of ours, so users are placed anew once")
    for message in told:
        notes.remark(line.file, line.number, "cookie", message, Effect.CHANGED)


def _names_servers(line: Line, servers: Sequence[HaproxyServer]) -> bool:
    """Return whether the servers have values of the cookie; without them haproxy only checks it."""
    return "dynamic" in line.words or any(server.get("cookie") is not None for server in servers)
