"""Conditions of haproxy's rules as alternatives, each a ``Match`` (haproxy 2.6, section 7).

A condition is translated exactly, or raises ``NoCounterpart``. Host names are compared without case and port here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.match import Condition, Match, NoCounterpart, conjunction, negation

_FETCH = re.compile(r"([a-z0-9_.]+?)(?:_(beg|end|dom|dir|reg|sub|str|len|bin|hex|ip|int))?(?:\(([^()]*)\))?((?:,.+)?)")
_HEADER_FETCHES = ("hdr", "req.hdr", "req.fhdr", "req_hdr")
_NAMES = {"req.ssl_sni": "sni", "req_ssl_sni": "sni", "ssl_fc_sni": "sni"}
_BOOLEANS = ("ssl_fc", "ssl_c_used", "ssl_fc_has_crt")
_HELLO = ("req.ssl_hello_type", "req_ssl_hello_type")
_SAME_HOST = re.compile(r"(?:,lower|,host_only|,field\(1,'?:'?\)|,regsub\(:\[0-9\]\+,\))*")
_PATH = re.compile(r"/[!->@-~]*")
_HOST_PATTERN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_PARAM = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_VALUE = re.compile(r"[\x20-\x7e]{0,256}")
_COUNTER = re.compile(r"(?:sc[0-2]?_|src_|fe_|be_|queue|avg_queue).*")
_PREDEFINED = {
    "TRUE": [Match()],
    "FALSE": [],
    "WAIT_END": [Match()],
    "LOCALHOST": [Match(Condition(client=("127.0.0.0/8",)))],
    "METH_GET": [Match(Condition(method=("GET", "HEAD")))],
    **{
        f"METH_{each}": [Match(Condition(method=(each,)))]
        for each in ("CONNECT", "DELETE", "HEAD", "OPTIONS", "POST", "PUT", "TRACE")
    },
}

Acls = Mapping[str, Sequence[Sequence[str]]]
"""The definitions of each name, which are alternatives."""


def alternatives(words: Sequence[str], acls: Acls) -> list[Match]:
    """Return what satisfies an ``if`` or ``unless``. Raise ``ValueError`` if haproxy would reject it."""
    if not words:
        return [Match()]
    if words[0] not in ("if", "unless"):
        raise ValueError(f"expected if or unless, not {shown(words[0])}")
    found = [match for terms in _conjunctions(words[1:]) for match in _conjunction(terms, acls)]
    return negation(found) if words[0] == "unless" else found


def values(pattern: str, options: Sequence[str], given: Sequence[str]) -> list[Match]:
    """Return the matches of a fetch such as ``hdr_end(host)`` with its values."""
    fetch = _FETCH.fullmatch(pattern)
    if fetch is None:
        raise NoCounterpart(f"{shown(pattern)} is not supported")
    name, how, argument, converters = fetch[1], _method(options, fetch[2] or ""), fetch[3] or "", fetch[4]
    if name == "ssl_fc":
        return [Match(tls=True)]
    if name in ("ssl_c_used", "ssl_fc_has_crt"):
        return [Match(Condition(certificate=(True,)))]
    if name == "ssl_c_verify" and given in (["0"], ["eq", "0"]):
        return [Match(tls=True)]  # invalid certificates are refused
    if name in ("always_true", "always_false"):
        return [Match()] if name == "always_true" else []
    if _COUNTER.fullmatch(name) and given[:1] in (["gt"], ["ge"]):
        return [Match(limit=True)]
    of_host = name in _HEADER_FETCHES and argument.split(",")[0].lower() == "host"
    if converters and not (of_host or name in _NAMES):
        raise NoCounterpart(f"the converters of {shown(pattern)} are not supported")
    if of_host and how != "found":
        return _hosts("host", how, converters, given)
    if name in _NAMES:
        return _hosts("sni", how, converters, given)
    if name in _HELLO and given in (["1"], ["eq", "1"]):
        return [Match(Condition(tls=(True,)))]
    if name == "path":
        return _paths(how, given)
    if name == "method" and not how:
        return [Match(Condition(method=tuple(given)))]
    if name == "src" and not how:
        return [Match(Condition(client=tuple(map(_network, given))))]
    if name in ("url_param", "urlp") and how == "found" and _PARAM.fullmatch(argument):
        return [Match(Condition(query=(argument,)))]
    if name in (*_HEADER_FETCHES, "req.hdr_cnt", "hdr_cnt") and _TOKEN.fullmatch(argument):
        return _field(name, argument, how, given)
    raise NoCounterpart(f"{shown(pattern.split(',')[0])} is not supported")


def entries(path: Path) -> list[str]:
    """Return the lines of a file of patterns or of a map, without comments and empty lines."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return [text for line in lines if (text := line.strip()) and not text.startswith("#")]


def _method(options: Sequence[str], how: str) -> str:
    if "-m" in options[:-1]:
        how = options[options.index("-m") + 1]
    return "" if how in ("str", "ip") else how


def _paths(how: str, given: Sequence[str]) -> list[Match]:
    if how not in ("", "beg"):
        raise NoCounterpart(f"paths can be compared completely or by prefix, not by {how}")
    if bad := [each for each in given if not _PATH.fullmatch(each)]:
        raise NoCounterpart(f"{shown(bad[0])} is not a path")
    return [Match(Condition(path_prefix=tuple(given)) if how else Condition(path=tuple(given)))]


def _hosts(key: str, how: str, converters: str, given: Sequence[str]) -> list[Match]:
    if not _SAME_HOST.fullmatch(converters):
        raise NoCounterpart("the converters of a name are not supported")
    patterns: dict[str, None] = {}
    for each in given:
        host, wanted = each.lower(), ""
        if how == "end" and host.startswith("."):
            host, wanted = host[1:], "*."
        elif how:
            raise NoCounterpart(f"names can be compared completely or by a suffix that begins with a dot, not by {how}")
        if ":" in host:
            raise NoCounterpart(f"{shown(each)} has a port: hosts are compared without it")
        if not _HOST_PATTERN.fullmatch(host):
            raise NoCounterpart(f"{shown(each)} is not a host name")
        patterns[f"{wanted}{host}"] = None
    return [Match(Condition(host=tuple(patterns)) if key == "host" else Condition(sni=tuple(patterns)))]


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise NoCounterpart(f"{shown(text)} is not a network") from None


def _field(fetch: str, name: str, how: str, given: Sequence[str]) -> list[Match]:
    present = [Match(Condition(header=((name.lower(), True),)))]
    if how == "found":
        return present
    if fetch.endswith("_cnt"):
        found = {("gt", "0"): present, ("ge", "1"): present, ("eq", "0"): negation(present), ("0",): negation(present)}
        if tuple(given) in found:
            return found[tuple(given)]
    # The other fetches split values at commas, which rules do not.
    elif fetch == "req.fhdr" and not how and all(map(_VALUE.fullmatch, given)):
        return [Match(Condition(header=((name.lower(), each),))) for each in given]
    raise NoCounterpart(f"the field {shown(name)} can be compared only as a whole (req.fhdr) or be present")


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


def _conjunction(terms: list[list[str]], acls: Acls) -> Iterator[Match]:
    possible = [Match()]
    for term in terms:
        negated, words = term[0] == "!", term[1:] if term[0] == "!" else term
        found = _term(words, acls)
        possible = conjunction(possible, negation(found) if negated else found)
    yield from possible


def _term(words: list[str], acls: Acls) -> list[Match]:
    if words[0] == "{":
        definitions: Sequence[Sequence[str]] = [words[1:]]
    elif words[0] in acls:
        definitions = acls[words[0]]
    elif words[0] in _PREDEFINED:
        return _PREDEFINED[words[0]]
    elif words[0].isupper() or words[0] in ("HTTP_1.0", "HTTP_1.1", "HTTP_2.0"):
        raise NoCounterpart(f"the predefined ACL {shown(words[0])} is not supported")
    else:
        raise ValueError(f"there is no acl named {shown(words[0])}")
    return [match for each in definitions for match in _definition(each)]


def _definition(words: Sequence[str]) -> list[Match]:
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
    given += rest
    exact = fetch.startswith(("path", "method", "req.fhdr"))
    if "-i" in options and exact and any(each.lower() != each.upper() for each in given):
        raise NoCounterpart(f"{shown(fetch)} cannot be compared without regard to case (-i)")
    if fetch in _BOOLEANS and given in (["0"], ["false"]):
        return negation(values(fetch, options, given))
    if not given and "found" not in options and not fetch.startswith(("ssl_fc", "ssl_c_used", "always")):
        if "-f" in options:
            return []  # an empty file matches nothing
        raise NoCounterpart(f"{shown(fetch)} has no values")
    return values(fetch, options, given)
