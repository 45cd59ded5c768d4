"""Conditions of requests as our rules express them, and their logic: "and" and "not".

Importers read a condition of the other balancer as alternatives, each a ``Match``. What no rule can express raises
``NoCounterpart``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Literal

from balancer.migrate.toml import Value

_CHOICES = ("tls", "certificate")
ROUTE_KEYS = ("host", "path", "path_prefix", "sni")
KEYS = (*ROUTE_KEYS, "method", "query", "header", "client", *_CHOICES)
_MOST = 200


class NoCounterpart(Exception):
    """A condition that no rule can express; the message says why."""


@dataclass(frozen=True)
class Condition:
    """The keys of ``listener.rule``: a request matches if it has a value of each key that is set.

    It has all of ``query`` and ``header``; ``path`` and ``path_prefix`` count as one key.
    """

    host: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    path_prefix: tuple[str, ...] = ()
    sni: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    header: tuple[tuple[str, str | bool], ...] = ()
    client: tuple[str, ...] = ()
    tls: tuple[bool, ...] = ()
    """Whether the client of a TCP listener speaks TLS to the host: one value, or none if it does not matter."""
    certificate: tuple[bool, ...] = ()
    """Whether it has shown a certificate: likewise."""

    @property
    def keys(self) -> set[str]:
        """Return the names of the keys that are set."""
        return {key for key in KEYS if getattr(self, key)}

    def both(self, other: "Condition") -> "Condition | None":
        """Return the condition that holds where both do; None if that is nowhere."""
        paths = _paths(self, other)
        found = {
            "host": _common(self.host, other.host, _narrower_name),
            "sni": _common(self.sni, other.sni, _narrower_name),
            "method": _common(self.method, other.method, lambda one, two: one if one == two else None),
            "client": _common(self.client, other.client, _narrower_network),
        }
        tls, certificate = tuple({*self.tls, *other.tls}), tuple({*self.certificate, *other.certificate})
        if paths is None or None in found.values() or len(tls) > 1 or len(certificate) > 1:
            return None
        path, path_prefix = paths
        query = tuple(dict.fromkeys(self.query + other.query))
        return Condition(
            **{key: value or () for key, value in found.items()},
            path=path,
            path_prefix=path_prefix,
            query=query,
            header=_fields(self.header, other.header),
            tls=tls,
            certificate=certificate,
        )

    def written(self) -> dict[str, Value]:
        """Return the keys as the configuration has them."""
        arrays = [key for key in KEYS if key not in ("header", *_CHOICES) and key in self.keys]
        made: dict[str, Value] = {key: list(getattr(self, key)) for key in arrays}
        if self.header:
            made["header"] = dict(self.header)
        return made | {key: getattr(self, key)[0] for key in _CHOICES if key in self.keys}


EVERYTHING = Condition()


@dataclass(frozen=True)
class Match:
    """Requests that match ``when`` and none of ``unless``."""

    when: Condition = EVERYTHING
    unless: tuple[Condition, ...] = ()
    tls: bool | None = None
    """Only with TLS, or only without it."""
    limit: bool = False
    """Only while a counter is above a limit, which no rule knows."""

    def both(self, other: "Match") -> "Match | None":
        """Return what satisfies both; None if nothing can."""
        if None not in (self.tls, other.tls) and self.tls != other.tls:
            return None
        when = self.when.both(other.when)
        unless = tuple(dict.fromkeys(self.unless + other.unless))
        if when is None or when in unless:
            return None
        return Match(when, unless, other.tls if self.tls is None else self.tls, self.limit or other.limit)

    def negated(self) -> list["Match"]:
        """Return the alternatives that hold where this does not."""
        if self.limit:
            raise NoCounterpart("it allows requests by a counter")
        found = [Match(unless=(self.when,))] if self.when != EVERYTHING else []
        if self.when.keys == {"tls"}:
            found = [Match(Condition(tls=(not self.when.tls[0],)))]
        elif self.when.keys == {"certificate"}:
            found = [Match(Condition(certificate=(not self.when.certificate[0],)))]
        if self.tls is not None:
            found.append(Match(tls=not self.tls))
        return [*found, *(Match(each) for each in self.unless)]

    def given(self, key: Literal["tls", "certificate"], value: bool) -> "Match | None":
        """Return what is left of it where a choice of its conditions is known; None if it never matches there."""
        never = (not value,)
        if getattr(self.when, key) == never:
            return None
        possible = [each for each in self.unless if getattr(each, key) != never]
        when, *unless = (replace(each, **{key: ()}) for each in (self.when, *possible))
        return None if EVERYTHING in unless else replace(self, when=when, unless=tuple(unless))

    def where(self, tls: bool) -> "Match | None":
        """Return what is left of it on a listener with or without TLS; None if it never matches there."""
        return None if self.tls not in (None, tls) else replace(self, tls=None)


def conjunction(one: Iterable[Match], other: Sequence[Match]) -> list[Match]:
    """Return the alternatives of "and"."""
    found = dict.fromkeys(both for each in one for more in other if (both := each.both(more)) is not None)
    if len(found) > _MOST:
        raise NoCounterpart("it has too many alternatives")
    return list(found)


def negation(alternatives: Iterable[Match]) -> list[Match]:
    """Return the alternatives of "not any of these"."""
    found = [Match()]
    for each in alternatives:
        found = conjunction(found, each.negated())
    return found


def merged(alternatives: Iterable[Match]) -> list[Match]:
    """Join neighbours that differ only in the values of one key."""
    found: list[Match] = []
    for each in alternatives:
        one = _joined(found[-1], each) if found else None
        if one is not None:
            found[-1] = one
        else:
            found.append(each)
    return found


def _joined(one: Match, other: Match) -> Match | None:
    if replace(one, when=EVERYTHING) != replace(other, when=EVERYTHING):
        return None
    differing = [key for key in KEYS if getattr(one.when, key) != getattr(other.when, key)]
    if not differing:
        return one
    mine, others = (getattr(each.when, differing[0]) for each in (one, other))
    if len(differing) > 1 or differing[0] in ("query", "header", *_CHOICES) or not mine or not others:
        return None
    both: dict[str, tuple[str, ...]] = {differing[0]: tuple(dict.fromkeys(mine + others))}
    return replace(one, when=replace(one.when, **both))  # type: ignore[arg-type]


def _common(
    mine: tuple[str, ...], others: tuple[str, ...], narrower: Callable[[str, str], str | None]
) -> tuple[str, ...] | None:
    """Return the values that both have, which is empty if neither is limited; None if there are none."""
    if not mine or not others:
        return mine or others
    found = [both for one in mine for other in others if (both := narrower(one, other)) is not None]
    return tuple(dict.fromkeys(found)) or None


def _narrower_name(one: str, other: str) -> str | None:
    for inner, outer in ((one, other), (other, one)):
        if inner == outer or (outer.startswith("*") and inner.endswith(outer[1:]) and inner != outer[1:]):
            return inner
    return None


def _narrower_network(one: str, other: str) -> str | None:
    mine, others = ip_network(one), ip_network(other)
    if mine.version != others.version or not mine.overlaps(others):
        return None
    return one if mine.prefixlen >= others.prefixlen else other


def _paths(one: Condition, other: Condition) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    limited = [each for each in (one, other) if each.path or each.path_prefix]
    if len(limited) < 2:
        return (limited[0].path, limited[0].path_prefix) if limited else ((), ())
    whole = [path for path in one.path if path in other.path or path.startswith(other.path_prefix)]
    whole += [path for path in other.path if path.startswith(one.path_prefix)]
    prefixes = [
        max(mine, others, key=len)
        for mine in one.path_prefix
        for others in other.path_prefix
        if mine.startswith(others) or others.startswith(mine)
    ]
    if not whole and not prefixes:
        return None
    return tuple(dict.fromkeys(whole)), tuple(dict.fromkeys(prefixes))


def _fields(
    one: tuple[tuple[str, str | bool], ...], other: tuple[tuple[str, str | bool], ...]
) -> tuple[tuple[str, str | bool], ...]:
    found = dict(one)
    for name, value in other:
        if value is not True and found.get(name, True) not in (True, value):
            raise NoCounterpart(f"it wants two values of the field {name}")
        found[name] = value if found.get(name, True) is True else found[name]
    return tuple(found.items())
