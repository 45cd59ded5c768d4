"""How a backend chooses a server: convert ``balance`` and ``hash-type`` to ``pool.token`` and ``pool.ring``.

As in haproxy, values are not decoded, the first of several counts, and requests without one
rotate between the servers (haproxy 2.6, section 4.2).
"""

import re
from collections.abc import Mapping, Sequence, Set
from typing import cast

from balancer.config.scalars import shown
from balancer.migrate.haproxy.persistence import AssignedCookie, by_address, write_cookie
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import number
from balancer.migrate.haproxy.variable import Sample, hashed_variable, samples
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.toml import TomlTable

_PARAM = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HDR = re.compile(r"hdr\(([^()]+)\)")
_SAMPLE = re.compile(r"(url_param|urlp|req\.hdr|hdr|src|path|req\.cook|cook)(?:\(([^(),]*)\))?")
_WITHOUT_HASH = {
    "roundrobin": "",
    "static-rr": "",
    "leastconn": "sends each request to the server with the fewest connections",
    "first": "fills one server after the other",
    "random": "draws servers at random",
    "rdp-cookie": "keeps users of RDP on their server by a cookie",
}
"""Algorithms that take no part of the request, and what other than turns they do."""
_FUNCTIONS = ("sdbm", "djb2", "wt6", "crc32", "none")
_LONGEST = 65536
_OF_PLACES = ("source", "param", "header", "cookie", "duplicates")


def write_balance(
    pool: TomlTable,
    proxy: Proxy,
    fronts: Sequence[Proxy],
    rewritten: Set[str],
    cookie: AssignedCookie | None,
    notes: Notes,
) -> bool:
    """Write how a pool chooses a backend; return whether it places by a hash, as haproxy does.

    ``fronts`` are the proxies that lead to it, ``rewritten`` is what they and it change of requests before. ``cookie``
    assigns users a token, if they do not have any.
    """
    line = proxy.last("balance")
    words = list(line.words[1:]) if line else ["roundrobin"]
    at = line or proxy.head
    token = pool.table("token")
    try:
        if variable := hashed_variable(proxy):
            _places(token, samples(variable, proxy, fronts), at)
        hashed = bool(variable) or _token(token, words, at, notes)
        if hashed and proxy.mode == "tcp" and words[0] != "source":
            message = f"haproxy ignores {shown(words[0])} in mode tcp: here they take turns, too"
            notes.remark(at.file, at.number, "balance", message, Effect.CHANGED)
            token.keys.clear()
            hashed = False
        ring = pool.table("ring")
        if hashed:
            _unchanged(token, rewritten | _sent(proxy, fronts))
            at = proxy.last("hash-type") or at
            _hash_type(ring, proxy)
            at = proxy.last("hash-balance-factor") or at
            _bound(ring, proxy)
            _tell_persistence(proxy, notes)
        else:
            _without_hash(pool, token, proxy, words[0] if words else "", cookie, notes)
    except ValueError as error:
        notes.problem(at.file, at.number, at.words[0], str(error))
        return False
    return hashed


def _token(token: TomlTable, words: Sequence[str], line: Line, notes: Notes) -> bool:
    header = _HDR.fullmatch(words[0]) if words else None
    if header:
        _named(token, "header", header[1], line)
        if words[1:]:
            raise ValueError("use_domain_only is not supported: it would spread the users of one domain")
        return True
    match words:
        case ["url_param", name, *rest]:
            _named(token, "query", name, line)
            if rest:
                message = "searches the bodies of POST requests too: here only the URL counts"
                notes.remark(line.file, line.number, "balance url_param check_post", message)
        case ["source"]:
            token.set("source", "client_ip", "balance source")
        case ["uri", *rest]:
            _uri(token, rest)
        case ["hash", expression]:
            _sample(token, expression, line)
        case [algorithm, *_] if algorithm.partition("(")[0] in _WITHOUT_HASH:
            return False
        case _:
            raise ValueError(f"{shown(' '.join(words))} is not a balance algorithm")
    return True


def _unchanged(token: TomlTable, rewritten: Set[str]) -> None:
    """Raise ``ValueError`` if haproxy hashes something else than the client sent."""
    keys = {key: value for key, (value, _) in token.keys.items()}
    for place in (keys, *cast("Sequence[Mapping[str, object]]", keys.get("fallback", ()))):
        source = place.get("source", "query")
        parts = {
            "query": {"query"},
            "header": {"host" if place.get("header") == "host" else f"header {place.get('header')}".lower()},
            "cookie": {"header cookie"},
            "path": {"path"},
            "uri": {"path", "query"},
            "client_ip": {"client"},
        }[str(source)]
        if changed := sorted(parts & rewritten):
            raise ValueError(
                f"haproxy changes the {changed[0]} before it is hashed, so users would be placed elsewhere here, "
                "and clients could choose their host: hash what the value is made of"
            )


def _sent(proxy: Proxy, fronts: Sequence[Proxy]) -> set[str]:
    """Return the headers that haproxy adds by itself."""
    names = set()
    for each in (proxy, *fronts):
        if (line := each.last("option forwardfor")) is not None:
            at = line.words.index("header") + 1 if "header" in line.words[:-1] else 0
            names.add(line.words[at] if at else "x-forwarded-for")
        if (line := each.last("unique-id-header")) is not None and len(line.words) > 1:
            names.add(line.words[1])
    return {f"header {name.lower()}" for name in names}


def _named(token: TomlTable, source: str, name: str, line: Line, takes: str = "first") -> None:
    if source == "query":
        if not _PARAM.fullmatch(name):
            raise ValueError(f"the parameter {shown(name)} is not allowed in pool.token.param")
        token.set("param", name, f"{line.words[0]} {line.words[1]}")
    else:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{shown(name)} is not a valid {source} name")
        token.set("source", source, line.words[0])
        token.set(source, name)
    token.set(
        "missing",
        "spread",
        "as in haproxy, requests without it rotate between the servers; here those with an empty value do too",
    )
    token.set("duplicates", takes, "as in haproxy")
    token.set("max_length", _LONGEST, "haproxy has no limit")


def _uri(token: TomlTable, words: Sequence[str]) -> None:
    rest = iter(words)
    token.set("source", "path", "balance uri")
    for word in rest:
        match word:
            case "whole":
                token.set("source", "uri", "balance uri whole")
            case "depth":
                token.set("depth", number(next(rest, ""), 0, 1000))
            case "len":
                token.set("leading_bytes", number(next(rest, ""), 0, 1 << 20))
            case "path-only":
                pass  # absolute URLs have been rewritten to their path
            case _:
                raise ValueError(f"{shown(word)} is not an option of balance uri")


def _places(token: TomlTable, found: Sequence[Sample], line: Line) -> None:
    """Write the places that a variable is set from: the first is the source, the others its fallback."""
    _sample(token, found[0].expression, found[0].line)
    if len(found) == 1:
        return
    places = []
    for sample in found[1:]:
        place = TomlTable("")
        _sample(place, sample.expression, sample.line)
        keys = {key: value for key, (value, _) in place.keys.items()}
        if "source" not in keys and "param" in keys:
            keys = {"source": "query", **keys}
        if keys["source"] not in ("query", "header", "cookie"):
            raise ValueError(f"the value of {shown(sample.expression)} cannot be a fallback here")
        places.append({key: keys[key] for key in _OF_PLACES if key in keys})
    token.set("fallback", places, f"{line.words[2]}, in the order in which its values count")


def _sample(token: TomlTable, expression: str, line: Line) -> None:
    """Convert ``balance hash`` if its sample has the same bytes as another source."""
    match = _SAMPLE.fullmatch(expression)
    fetch, name = (match[1], match[2]) if match else ("", "")
    if fetch in ("req.hdr", "hdr") and name:
        _named(token, "header", name, line, "last")
    elif fetch in ("req.cook", "cook") and name:
        _named(token, "cookie", name, line, "last")
    elif fetch == "path":
        token.set("source", "path", "balance hash path")
    elif fetch in ("url_param", "urlp") and name:
        _named(token, "query", name, line)
    else:
        raise ValueError(
            f"the value of {shown(expression)} cannot be computed here, so users would be placed elsewhere"
        )


def _without_hash(
    pool: TomlTable, token: TomlTable, proxy: Proxy, algorithm: str, cookie: AssignedCookie | None, notes: Notes
) -> None:
    """Write how a pool chooses a backend where haproxy places nobody by a hash."""
    line = proxy.last("balance") or proxy.head
    algorithm = algorithm.partition("(")[0]
    told = _WITHOUT_HASH.get(algorithm, "")
    persistence = proxy.last("cookie")
    if persistence is not None and cookie is not None:
        write_cookie(token, persistence, cookie, notes)
        told = ""
    elif by_address(proxy) or algorithm == "rdp-cookie":
        token.set("source", "client_ip", "stick on src" if by_address(proxy) else "in place of rdp-cookie")
        for each in proxy.all("stick"):
            message = "keeps an address on its first server: here each address has its host on the ring"
            notes.remark(each.file, each.number, "stick", message, Effect.CHANGED)
        told = f"{told}: here each client address has its host" if algorithm == "rdp-cookie" else ""
    else:
        pool.set("balance", "turns", f"{algorithm}: to give users a host of their own, see pool.token")
        told = f"{told}: here they take turns" if told else ""
        _tell_persistence(proxy, notes, cookie=False)
    if told:
        notes.remark(line.file, line.number, f"balance {algorithm}", told, Effect.CHANGED)


def _tell_persistence(proxy: Proxy, notes: Notes, *, cookie: bool = True) -> None:
    """Report what keeps users elsewhere than where the hash places them."""
    lines = proxy.all("stick") + (proxy.all("cookie")[-1:] if cookie and proxy.mode == "http" else [])
    for line in lines:
        message = (
            "keeps users on their first server: here the token, open connections and pins decide; "
            "users that it kept elsewhere move once"
        )
        notes.remark(line.file, line.number, line.words[0], message)


def _hash_type(ring: TomlTable, proxy: Proxy) -> None:
    ring.set(
        "algorithm",
        "haproxy",
        "same placement as haproxy up to 2.9 and from 3.3; 3.0 to 3.2 differ in hash-type consistent",
    )
    line = proxy.last("hash-type")
    if line is None:
        ring.set("hash_type", "map-based", "haproxy's default: nearly all users move when a server is added or removed")
    else:
        method, *rest = [*line.words[1:], ""]
        if method not in ("consistent", "map-based"):
            raise ValueError(f"expected hash-type consistent or map-based, not {shown(method)}")
        ring.set("hash_type", method, f"hash-type ({line})")
        words = [word for word in rest if word]
        if words and words[0] in _FUNCTIONS:
            ring.set("function", words.pop(0))
        if words == ["avalanche"]:
            ring.set("avalanche", True)
        elif words:
            raise ValueError(
                f"{shown(words[0])} is not a hash function: expected {', '.join(_FUNCTIONS)}, optionally avalanche"
            )


def _bound(ring: TomlTable, proxy: Proxy) -> None:
    factor = proxy.last("hash-balance-factor")
    if factor is not None and len(factor.words) > 1 and (bound := number(factor.words[1], 0, 65535)):
        if bound <= 100:
            raise ValueError(f"expected hash-balance-factor 0 or above 100, not {bound}")
        ring.set("hash_balance_factor", bound)
