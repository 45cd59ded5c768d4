"""Decide by the rules of a listener what happens to a request or connection.

Facts. A rule that keeps clients out must see a path as the host will: ``/%61dmin``, ``//admin`` and ``/x/../admin`` may
all be ``/admin`` there. nginx compares normalized paths, haproxy the bytes as received. Here a listener with a rule
that denies by path compares the path normalized (RFC 3986, 6.2.2: escapes of unreserved bytes decoded, dot segments
removed; slashes merged), in all its rules: else ``/public/../admin`` would pass by a rule for ``/public`` in front of
the one that denies. It refuses what servers read in different ways: encoded slashes, backslashes and zero bytes. All
other listeners compare paths byte for byte as received, as haproxy does.

Hosts are compared without case, port and final dot (RFC 3986, 3.2.2; RFC 9110, 4.2.3).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from balancer.config.settings import Action, ConditionSettings, Deny, RuleSettings
from balancer.errors import ProxyError, Source
from balancer.http.head import Request
from balancer.http.query import values
from balancer.shared.networks import Networks

KEPT = 1024
"""Size of the cache by host and server name. It is cleared when full, as clients may send any."""
_AMBIGUOUS = re.compile(rb"(?i:%2f|%5c|%00)|\\")
_UNRESERVED = re.compile(rb"%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
_SLASHES = re.compile(rb"//+")


class _Condition:
    """One condition, compiled."""

    __slots__ = ("certificate", "client", "header", "host", "method", "paths", "prefixes", "query", "sni", "tls")

    def __init__(self, settings: ConditionSettings) -> None:
        self.host, self.sni = settings.host, settings.sni
        self.tls, self.certificate = settings.tls, settings.certificate
        self.paths = frozenset(path.encode() for path in settings.path)
        self.prefixes = tuple(prefix.encode() for prefix in settings.path_prefix)
        self.method = frozenset(method.encode() for method in settings.method)
        self.query = settings.query
        self.header = tuple(
            (name.lower().encode(), None if value is True else str(value).encode())
            for name, value in settings.header.items()
        )
        self.client = Networks(settings.client) if settings.client else None

    def names(self, host: str, server_name: str) -> bool:
        """Return whether the host and the server name match."""
        return (not self.host or _any(self.host, host)) and (not self.sni or _any(self.sni, server_name))

    def matches(self, request: Request, path: bytes, address: str, *, certified: bool) -> bool:
        """Return whether the rest of the request matches, its ``path`` and the client's ``address``."""
        return (
            (not (self.paths or self.prefixes) or path in self.paths or path.startswith(self.prefixes))
            and (not self.method or request.method in self.method)
            and all(values(request.target, name) for name in self.query)
            and all(_has_field(request, name, value) for name, value in self.header)
            and (self.client is None or address in self.client)
            and self.certificate in (None, certified)
        )

    def meets(self, address: str, *, tls: bool, certified: bool) -> bool:
        """Return whether the rest of a connection matches: the client's ``address``, and whether it speaks TLS."""
        return (
            self.tls in (None, tls)
            and self.certificate in (None, certified)
            and (self.client is None or address in self.client)
        )


class _Rule(NamedTuple):
    """One rule, compiled."""

    action: Action
    when: _Condition
    unless: tuple[_Condition, ...]

    def of_host(self, host: str, server_name: str) -> "_Rule | None":
        """Return the rule with the exceptions left to check for this host; None if it cannot match."""
        if not self.when.names(host, server_name):
            return None
        return self._replace(unless=tuple(each for each in self.unless if each.names(host, server_name)))


class Rules:
    """The rules of a listener, in order; the first that matches decides."""

    def __init__(self, rules: Iterable[RuleSettings]) -> None:
        self._rules = [_Rule(rule.action, _Condition(rule.when), tuple(map(_Condition, rule.unless))) for rule in rules]
        self._normalizes = any(
            isinstance(rule.action, Deny) and any(each.paths or each.prefixes for each in (rule.when, *rule.unless))
            for rule in self._rules
        )
        """Whether a rule denies by path."""
        self.of_hello = any(
            each.sni or each.tls is not None for rule in self._rules for each in (rule.when, *rule.unless)
        )
        """Whether a rule asks for what is in a ClientHello."""
        self._by_name: dict[tuple[bytes, str], tuple[_Rule, ...]] = {}

    def of_request(self, request: Request, server_name: str, address: str, *, certified: bool = False) -> Action | None:
        """Return what the first matching rule does, or None.

        ``server_name`` is empty if the client sent none, ``certified`` says whether it has shown a certificate. Raise
        ``ProxyError`` (400) for a path that servers read in different ways, if a rule denies by path.
        """
        path = request.target.partition(b"?")[0]
        if self._normalizes:
            path = normalized_path(path)
        for rule in self._named(request.host, server_name):
            if rule.when.matches(request, path, address, certified=certified) and not any(
                each.matches(request, path, address, certified=certified) for each in rule.unless
            ):
                return rule.action
        return None

    def of_connection(self, server_name: str, address: str, *, tls: bool, certified: bool = False) -> Action | None:
        """Return what the first rule does that matches a connection, or None; ``tls`` is whether the client speaks it.

        The other arguments are as for ``of_request``.
        """
        for rule in self._named(b"", server_name):
            if rule.when.meets(address, tls=tls, certified=certified) and not any(
                each.meets(address, tls=tls, certified=certified) for each in rule.unless
            ):
                return rule.action
        return None

    def _named(self, host: bytes, server_name: str) -> tuple[_Rule, ...]:
        """Return the rules whose hosts and server names match."""
        found = self._by_name.get((host, server_name))
        if found is None:
            if len(self._by_name) >= KEPT:
                self._by_name.clear()
            name = host_name(host)
            named = (rule.of_host(name, server_name) for rule in self._rules)
            found = self._by_name[host, server_name] = tuple(rule for rule in named if rule is not None)
        return found


def host_name(host: bytes) -> str:
    """Return a ``Host`` without its port and final dot, in lower case."""
    text = host.decode("latin-1").lower()
    name = text[: text.rfind("]") + 1] if text.startswith("[") else text.partition(":")[0]
    return name.rstrip(".")


def normalized_path(path: bytes) -> bytes:
    """Return a path as a host will read it. Raise ``ProxyError`` (400) for one that hosts read in different ways."""
    if _AMBIGUOUS.search(path):
        raise ProxyError(Source.CLIENT, 400, "a path with an encoded slash, a backslash or a zero byte")
    path = _UNRESERVED.sub(lambda match: bytes((int(match[1], 16),)), path)
    path = _SLASHES.sub(b"/", path)
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
            continue
        if last:
            kept.append(b"")
    return b"/" + b"/".join(kept)


def _any(patterns: tuple[str, ...], name: str) -> bool:
    """Return whether ``name`` equals one of the patterns, or is a subdomain of one that begins with ``*.``."""
    return any(name.endswith(each[1:]) and name != each[1:] if each[0] == "*" else name == each for each in patterns)


def _has_field(request: Request, name: bytes, value: bytes | None) -> bool:
    found = request.field(name)
    return bool(found) if value is None else value in found
