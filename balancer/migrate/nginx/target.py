"""The targets of ``proxy_pass``: upstreams or addresses, with or without TLS, fixed or chosen by a ``map``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.names import own_name
from balancer.migrate.nginx.chain import Chain, inherited, takes_address_from_field
from balancer.migrate.nginx.fields import Changes
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.upstream import Upstream, single, write_pool
from balancer.migrate.outcome import Effect, Notes, Surroundings
from balancer.migrate.toml import TomlTable

_URL = re.compile(r"(https?)://(unix:[^:]+|[^/]+?)(?::(?=/)|(?=/)|$)(/.*)?", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_HOSTS = ("host", "http_host", "ssl_preread_server_name", "ssl_server_name")


@dataclass
class Goal:
    """A future pool: an upstream and how to connect to it."""

    upstream: Upstream
    tls: bool
    name: str
    chain: Chain
    """Blocks around the first proxy_pass to this target: their settings apply to the pool."""
    by_name: bool = False
    """Whether its key is the server name of a TLS handshake."""
    changes: Changes | None = None
    """What the locations that lead to it do to header fields."""


@dataclass
class Goals:
    """All future pools, in the order of the configuration."""

    base: Path
    """Base of relative file names."""
    notes: Notes
    allow_open: bool = False
    """Whether to write listeners although something that keeps clients out has no counterpart."""
    upstreams: dict[tuple[bool, str], Upstream] = field(default_factory=dict)
    maps: dict[tuple[bool, str], Directive] = field(default_factory=dict)
    """``map`` blocks by (in ``stream``?, variable they set)."""
    found: dict[tuple[bool, str, bool, int], Goal] = field(default_factory=dict)
    """By block, name, TLS, and a number: a pool has one set of changes of header fields."""
    _taken: set[str] = field(default_factory=set)

    def named(
        self, proxy_pass: Directive, chain: Chain, stream: bool, changes: Changes | None = None
    ) -> list[tuple[str, Goal]]:
        """Return the pools that a ``proxy_pass`` may choose, each with its host pattern: empty for any host.

        ``changes`` are what the location does to header fields.
        """
        if len(proxy_pass.args) != 1:
            self.notes.problem(proxy_pass.file, proxy_pass.line, "proxy_pass", "expected one address")
            return []
        if stream:
            scheme, host, uri = "https" if _on(inherited(chain, "proxy_ssl")) else "http", proxy_pass.args[0], ""
        else:
            match = _URL.fullmatch(proxy_pass.args[0])
            if match is None and "$" not in proxy_pass.args[0]:
                message = f"expected http://NAME or https://NAME, not {shown(proxy_pass.args[0])}"
                self.notes.problem(proxy_pass.file, proxy_pass.line, "proxy_pass", message)
                return []
            scheme, host, uri = (match[1].lower(), match[2], match[3] or "") if match else ("http", "$", "")
        self._tell_uri(proxy_pass, uri, chain)
        if "$" in host:
            return list(self._mapped(host, scheme, proxy_pass, chain, stream, changes))
        goal = self._goal(host, scheme == "https", proxy_pass, chain, stream, changes)
        return [("", goal)]

    def _goal(
        self, host: str, tls: bool, proxy_pass: Directive, chain: Chain, stream: bool, changes: Changes | None
    ) -> Goal:
        for number in count():
            key = (stream, host, tls, number)
            if key not in self.found:
                break
            if self.found[key].changes == changes:
                return self.found[key]
        given = self.upstreams.get((stream, host)) or single(host, proxy_pass, stream, 443 if tls else 80)
        made = self.found[key] = Goal(given, tls, own_name(host, self._taken), chain, changes=changes)
        if number:
            message = (
                f"changes other header fields than locations before: its hosts are a pool of their own, {made.name}"
            )
            location = chain[-1]
            what = f"location {' '.join(location.args)}"
            self.notes.remark(location.file, location.line, what, message, Effect.CHANGED)
        return made

    def _mapped(
        self,
        host: str,
        scheme: str,
        proxy_pass: Directive,
        chain: Chain,
        stream: bool,
        changes: Changes | None,
    ) -> Iterator[tuple[str, Goal]]:
        """Yield the pools that a ``map`` of the host chooses."""
        match = _VARIABLE.fullmatch(host)
        found = self.maps.get((stream, match[1] or match[2])) if match else None
        source = _VARIABLE.fullmatch(found.args[0]) if found else None
        if found is None or source is None or (source[1] or source[2]) not in _HOSTS:
            message = (
                "the address is computed for each request, which is not supported: not converted; name an upstream"
            )
            self.notes.remark(proxy_pass.file, proxy_pass.line, "proxy_pass", message)
            return
        hosts = (source[1] or source[2]) in _HOSTS and found.last("hostnames") is not None
        fallback = []
        for entry in found.block or ():
            if entry.name in ("hostnames", "volatile", "include"):
                continue
            if len(entry.args) != 1 or "$" in entry.args[0] or not entry.args[0]:
                message = f"{shown(entry.name)} does not name an upstream: not converted"
                self.notes.remark(entry.file, entry.line, "map", message)
                continue
            goal = self._goal(entry.args[0], scheme == "https", proxy_pass, chain, stream, changes)
            if entry.name == "default":
                fallback.append(("", goal))
                continue
            for pattern in host_patterns(entry.name.removeprefix("\\"), entry, "map", self.notes, wildcards=hosts):
                yield pattern, goal
        yield from fallback

    def _tell_uri(self, proxy_pass: Directive, uri: str, chain: Chain) -> None:
        location = chain[-1]
        here = location.args[-1] if location.name == "location" and location.args else "/"
        if uri and uri != here:
            message = f"replaced {shown(here)} by {shown(uri)}; here paths do not change: let the backends accept them"
            self.notes.remark(proxy_pass.file, proxy_pass.line, "proxy_pass", message)

    def write(self, top: TomlTable, surroundings: Surroundings) -> None:
        """Append all pools."""
        for goal in self.found.values():
            maps = {name: found for (stream, name), found in self.maps.items() if stream == goal.upstream.stream}
            self._tell_address(goal)
            pool = write_pool(top, goal.name, goal.upstream, maps, surroundings, self.notes)
            if goal.upstream.stream and _on(inherited(goal.chain, "proxy_protocol")):
                pool.set("send_proxy", "v1", "proxy_protocol on")
            if goal.tls:
                self._tls(pool.table("tls"), goal)
            if goal.changes is not None:
                goal.changes.request.write(pool, "request_fields")
                goal.changes.response.write(pool, "response_fields")

    def _tell_address(self, goal: Goal) -> None:
        """Refuse to place users by an address that nginx took from a field, and that nobody has here."""
        method = goal.upstream.method
        if method is None or not takes_address_from_field(goal.chain):
            return
        message = "$remote_addr comes from a header field (real_ip_header), and here from the connection: "
        if method.name == "hash" and method.args[:1] in (("$remote_addr",), ("${remote_addr}",)):
            message += "users would be placed elsewhere; let the balancer in front send PROXY headers"
            self.notes.problem(method.file, method.line, "hash", message)
        elif method.name == "ip_hash":
            message += "users behind one balancer are on one host; let it send PROXY headers"
            self.notes.remark(method.file, method.line, "ip_hash", message)

    def _tls(self, tls: TomlTable, goal: Goal) -> None:
        tls.set("enabled", True, "https" if not goal.upstream.stream else "proxy_ssl on")
        verify = _on(inherited(goal.chain, "proxy_ssl_verify"))
        tls.set("verify", None if verify else False, "nginx verifies only with proxy_ssl_verify")
        for ours, theirs in (
            ("ca_file", "proxy_ssl_trusted_certificate"),
            ("cert", "proxy_ssl_certificate"),
            ("key", "proxy_ssl_certificate_key"),
        ):
            if (given := inherited(goal.chain, theirs)) and given[-1].args:
                tls.set(ours, str(self.base / given[-1].args[0]), theirs)
        name = inherited(goal.chain, "proxy_ssl_name")
        if name and name[-1].args and "$" not in name[-1].args[0]:
            tls.set("server_name", name[-1].args[0], "proxy_ssl_name")
        elif verify:
            tls.set(
                "server_name",
                goal.upstream.name.partition(":")[0],
                "the name that nginx verifies without proxy_ssl_name",
            )


def host_patterns(name: str, where: Directive, what: str, notes: Notes, *, wildcards: bool = True) -> Iterator[str]:
    """Yield ``a.example``, ``*.example`` and ``.example`` as our routes write them; report other patterns."""
    if name.startswith("~") or name.endswith(".*") or "$" in name or (not wildcards and name.startswith((".", "*"))):
        message = f"{shown(name)} is neither a host nor *.host: not converted"
        notes.remark(where.file, where.line, what, message)
    elif name.startswith("."):
        yield name[1:].lower()
        yield f"*{name}".lower()
    elif re.fullmatch(r"(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.?", name):
        yield name.lower().rstrip(".")


def _on(directives: Sequence[Directive]) -> bool:
    return bool(directives) and directives[-1].args == ("on",)


def collect(blocks: Mapping[bool, Sequence[Directive]], goals: Goals) -> None:
    """Find the maps in ``http`` (false) and ``stream`` (true)."""
    for stream, found in blocks.items():
        for block in found:
            for each in block.all("map"):
                if len(each.args) == 2:
                    goals.maps[stream, each.args[1].lstrip("$").strip("{}")] = each
