"""Conditions of rules, as far as a route can express them: host, path, prefix of the path, SNI, and TLS or not.

A condition becomes the alternatives that satisfy it, each a ``Match``. Any other condition raises
``NoCounterpart``; the caller reports the line (haproxy 2.6, section 7).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from balancer.config.scalars import shown

KEYS = ("host", "path", "path_prefix", "sni")

_FETCH = re.compile(r"([a-z0-9_.]+?)(?:_(beg|end|dom|dir|reg|sub|str|len|bin|hex|ip|int))?(?:\(([^()]*)\))?((?:,.+)?)")
_HOST_FETCHES = ("hdr", "req.hdr", "req.fhdr", "req_hdr")
_FETCHES = {"path": "path", "req.ssl_sni": "sni", "req_ssl_sni": "sni", "ssl_fc_sni": "sni"}
_SAME_HOST = re.compile(r"(?:,lower|,host_only|,field\(1,'?:'?\)|,regsub\(:\[0-9\]\+,\))*")
_PATH = re.compile(r"/[!->@-~]*")
_HOST_PATTERN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")


class NoCounterpart(Exception):
    """A condition that no route can express; the message says why."""


@dataclass(frozen=True)
class Match:
    """What a request must match: a value of each key that has any; ``path`` and ``path_prefix`` count as one key."""

    host: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    path_prefix: tuple[str, ...] = ()
    sni: tuple[str, ...] = ()
    tls: bool | None = None
    """Only with TLS, or only without it."""

    def both(self, other: "Match") -> "Match | None":
        """Return what satisfies both; None if nothing can."""
        if None not in (self.tls, other.tls) and self.tls != other.tls:
            return None
        merged = {field.name: getattr(self, field.name) or getattr(other, field.name) for field in fields(self)}
        for key in KEYS:
            mine, others = getattr(self, key), getattr(other, key)
            if mine and others and mine != others:
                raise NoCounterpart(f"it has two conditions on the {key.replace('_', ' ')}")
        if (self.path or other.path) and (self.path_prefix or other.path_prefix) and self != other:
            raise NoCounterpart("it has a path and a prefix of the path")
        merged["tls"] = other.tls if self.tls is None else self.tls
        return Match(**merged)


def alternatives(words: Sequence[str], acls: Mapping[str, list[Sequence[str]]]) -> list[Match]:
    """Return what satisfies an ``if`` or ``unless``. Raise ``ValueError`` if haproxy would reject it."""
    if not words:
        return [Match()]
    if words[0] not in ("if", "unless"):
        raise ValueError(f"expected if or unless, not {shown(words[0])}")
    found = [match for conjunction in _conjunctions(words[1:]) for match in _conjunction(conjunction, acls)]
    return [_negated(found)] if words[0] == "unless" else found


def values(pattern: str, options: Sequence[str], given: Sequence[str]) -> Match:
    """Return the match of a fetch such as ``hdr_end(host)`` with its values."""
    match = _FETCH.fullmatch(pattern)
    if match is None:
        raise NoCounterpart(f"{shown(pattern)} is not supported")
    name, how, argument, converters = match[1], match[2] or "", match[3], match[4]
    how = _method(options, how)
    if name == "ssl_fc":
        return Match(tls=True)
    if name == "always_true":
        return Match()
    if name in _HOST_FETCHES and (argument or "").split(",")[0].lower() == "host":
        key = "host"
    elif name in _FETCHES:
        key = _FETCHES[name]
    else:
        raise NoCounterpart(f"{shown(pattern.split(',')[0])} is not supported: only host, path and SNI are")
    if not _SAME_HOST.fullmatch(converters) or (key == "path" and converters):
        raise NoCounterpart(f"the converters of {shown(pattern)} are not supported")
    if key == "path":
        return _paths(how, given)
    return _hosts(key, how, given)


def _method(options: Sequence[str], how: str) -> str:
    if "-m" in options[:-1]:
        how = options[options.index("-m") + 1]
    return "" if how == "str" else how


def _paths(how: str, given: Sequence[str]) -> Match:
    if how not in ("", "beg"):
        raise NoCounterpart(f"paths can be compared completely or by prefix, not by {how}")
    if bad := [each for each in given if not _PATH.fullmatch(each)]:
        raise NoCounterpart(f"{shown(bad[0])} is not a path")
    return Match(path_prefix=tuple(given)) if how else Match(path=tuple(given))


def _hosts(key: str, how: str, given: Sequence[str]) -> Match:
    patterns: list[str] = []
    for each in given:
        host = each.lower().partition(":")[0]
        if how == "end" and host.startswith("."):
            host, found = host[1:], ["*."]
        elif how in ("end", "dom"):
            found = ["", "*."]
        elif not how:
            found = [""]
        else:
            raise NoCounterpart(f"names can be compared completely or by suffix, not by {how}")
        if not _HOST_PATTERN.fullmatch(host):
            raise NoCounterpart(f"{shown(each)} is not a host name")
        patterns += [f"{star}{host}" for star in found]
    return Match(host=tuple(dict.fromkeys(patterns))) if key == "host" else Match(sni=tuple(dict.fromkeys(patterns)))


def _conjunctions(words: Sequence[str]) -> list[list[list[str]]]:
    """Return alternatives of terms. A term is its words: ``!`` if negated, then an ACL or ``{`` and its contents."""
    found: list[list[list[str]]] = [[]]
    rest = iter(words)
    negated: list[str] = []
    for word in rest:
        if word in ("||", "or"):
            found.append([])
            continue
        while word.startswith("!"):
            negated = [] if negated else ["!"]
            word = word[1:]
        if not word:
            continue
        term = [word]
        if word == "{":
            inside = []
            for each in rest:
                if each == "}":
                    break
                inside.append(each)
            else:
                raise ValueError("a brace in the condition is not closed")
            if not inside:
                raise ValueError("the braces in the condition are empty")
            term = ["{", *inside]
        found[-1].append([*negated, *term])
        negated = []
    if negated or not all(found):
        raise ValueError("the condition is incomplete")
    return found


def _conjunction(terms: list[list[str]], acls: Mapping[str, list[Sequence[str]]]) -> Iterator[Match]:
    possible: list[Match] = [Match()]
    for term in terms:
        negated, words = term[0] == "!", term[1:] if term[0] == "!" else term
        found = _term(words, acls)
        if negated:
            found = [_negated(found)]
        possible = [both for one in possible for other in found if (both := one.both(other)) is not None]
    yield from possible


def _term(words: list[str], acls: Mapping[str, list[Sequence[str]]]) -> list[Match]:
    if words[0] == "{":
        definitions: list[Sequence[str]] = [words[1:]]
    elif words[0] in acls:
        definitions = acls[words[0]]
    elif words[0] == "TRUE":
        return [Match()]
    elif words[0].isupper() or words[0] in ("HTTP_1.0", "HTTP_1.1", "HTTP_2.0"):
        raise NoCounterpart(f"the predefined ACL {shown(words[0])} is not supported")
    else:
        raise ValueError(f"there is no acl named {shown(words[0])}")
    return [_definition(each) for each in definitions]


def _definition(words: Sequence[str]) -> Match:
    """Parse an ACL after its name: a fetch, flags and values; files have one value a line."""
    fetch, *rest = words
    options: list[str] = []
    given: list[str] = []
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        options.append(option)
        if option in ("-f", "-m", "-M") and rest:
            argument = rest.pop(0)
            options.append(argument)
            if option == "-f":
                given += entries(Path(argument))
    if "-i" in options and fetch.startswith("path") and any(each.lower() != each.upper() for each in [*given, *rest]):
        raise NoCounterpart("paths cannot be compared without regard to case (-i)")
    return values(fetch, options, [*given, *rest])


def entries(path: Path) -> list[str]:
    """Return the lines of a file of patterns or of a map, without comments and empty lines."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return [text for line in lines if (text := line.strip()) and not text.startswith("#")]


def _negated(found: list[Match]) -> Match:
    if len(found) == 1 and found[0].tls is not None and found[0] == Match(tls=found[0].tls):
        return Match(tls=not found[0].tls)
    raise NoCounterpart("it has a negation")
