"""Rules that refuse, answer or redirect requests: ``http-request``, ``tcp-request``, ``redirect``, ``monitor-uri``.

A rule that keeps clients out is converted exactly, or it bars its listeners: these are not written. So is one behind
a rule that lets requests skip it under a condition that no rule here can express.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from balancer.config.scalars import shown
from balancer.migrate.haproxy.acl import Acls, alternatives
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.words import Line
from balancer.migrate.match import Condition, Match, NoCounterpart, conjunction, merged, negation
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.toml import Value

CLOSING = ("deny", "reject", "tarpit", "silent-drop", "fc-silent-drop", "close", "auth")
HANDLED = (*CLOSING, "allow", "accept", "return", "redirect")
"""Actions that are converted here."""
_PLAIN_TEXT = re.compile(r"[^%]*")
_SCHEMES = ("http", "https")
_CODES = ("301", "302", "303", "307", "308")
_REWRITES = {
    "set-path": ("path",),
    "replace-path": ("path",),
    "normalize-uri": ("path", "query"),
    "set-pathq": ("path", "query"),
    "replace-pathq": ("path", "query"),
    "set-query": ("query",),
    "set-uri": ("path", "query", "host"),
    "replace-uri": ("path", "query", "host"),
    "set-method": ("method",),
    "set-src": ("client",),
}
"""Actions after which conditions see something else than the client sent, and the keys of these."""


@dataclass(frozen=True)
class Rule:
    """What happens to requests that match: the keys of an action of ``listener.rule``."""

    match: Match
    action: tuple[str, Value]
    line: Line

    @property
    def of_address(self) -> bool:
        """Return whether it is only for what comes to addresses of its own section, not for what a frontend sends."""
        return self.line.words[0] == "monitor-uri" or self.line.words[1:2] in (("connection",), ("session",))


@dataclass
class Access:
    """The rules of a proxy in order, and why it cannot be opened without the others."""

    mode: str = "http"
    rules: list[Rule] = field(default_factory=list)
    barred: list[tuple[Line, str, str]] = field(default_factory=list)
    """Lines that keep clients out and have no counterpart: line, keyword, reason."""
    rewritten: set[str] = field(default_factory=set)
    """What the rules change of requests, by key of a condition."""
    converted: list[Line] = field(default_factory=list)
    """Lines that became rules and routes."""

    def exact(self, found: Sequence[Match]) -> Sequence[Match]:
        """Return alternatives of a later rule. Raise ``NoCounterpart`` if it sees what the rules have changed."""
        keys = {key for match in found for each in (match.when, *match.unless) for key in _keys(each)}
        if self.mode == "tcp" and keys - {"sni", "client", "tls"}:
            raise NoCounterpart("requests are not read in mode tcp")
        if self.mode == "http" and "tls" in keys:
            raise NoCounterpart("only mode tcp reads a ClientHello")
        if changed := sorted(keys & self.rewritten):
            raise NoCounterpart(f"its condition sees the {changed[0]} after a rule has changed it")
        return found


def access(proxy: Proxy, acls: Acls, notes: Notes) -> Access:
    """Return the rules of a proxy that answer requests or close connections."""
    found = Access(proxy.mode)
    if proxy.mode == "http":
        found.rules += _monitor(proxy)
    lines = [line for line in (*proxy.inherited, *proxy.own) if line.words[0] in ("tcp-request", "http-request")]
    for ruleset in ("connection", "session", "content"):
        mine = [line for line in lines if line.words[:2] == ("tcp-request", ruleset)]
        _Ruleset(proxy, acls, notes, found, 2, of_peer=ruleset == "connection" and _behind_proxy(proxy)).read(mine)
    if proxy.mode == "http":
        _Ruleset(proxy, acls, notes, found, 1).read([line for line in lines if line.words[0] == "http-request"])
        _Ruleset(proxy, acls, notes, found, 0).read(proxy.all("redirect"))
        found.rules += _statistics(proxy)
    for line in (*proxy.all("http-response"), *proxy.all("tcp-response")):
        if closing := [word for word in line.words[1:3] if word in CLOSING]:
            found.barred.append((line, f"{line.words[0]} {closing[0]}", "rules do not see answers"))
    return found


class _Ruleset:
    """Rules that are tried in order until one ends them.

    ``start`` is where the action stands in a line. With ``of_peer`` the client's address is not yet known, only that
    of the balancer in front.
    """

    def __init__(
        self, proxy: Proxy, acls: Acls, notes: Notes, into: Access, start: int, *, of_peer: bool = False
    ) -> None:
        self._proxy, self._acls, self._notes, self._into, self._start = proxy, acls, notes, into, start
        self._of_peer = of_peer
        self._passed: list[Match] = []
        """Requests that skip the rest of the rules."""
        self._unknown: NoCounterpart | None = None
        """Why it is not known which requests skip the rest."""
        self._unused: list[Line] = []
        """Lines that let requests skip the rest, and were not needed yet."""

    def read(self, lines: Sequence[Line]) -> None:
        """Convert each line that ends the rules."""
        for line in lines:
            words = line.words[self._start :]
            if not words:
                continue
            name = words[0].partition("(")[0]
            self._into.rewritten.update(_REWRITES.get(name, ()))
            if name.endswith("-header") and len(words) > 1:
                self._into.rewritten.add("host" if words[1].lower() == "host" else f"header {words[1].lower()}")
            if name in HANDLED:
                self._convert(name, words, line)
        for line in self._unused:
            message = "lets requests skip the rules after it: none of them was converted"
            self._notes.remark(line.file, line.number, " ".join(line.words[: self._start + 1]), message, Effect.NONE)

    def _convert(self, name: str, words: Sequence[str], line: Line) -> None:
        what = " ".join((*line.words[: self._start], name))
        start = next((at for at, word in enumerate(words) if at and word in ("if", "unless")), len(words))
        try:
            found = self._matches(words[start:])
            if name in ("allow", "accept"):
                self._passed += found
                self._unused.append(line)
                return
            if any(match.limit for match in found):
                found = [match for match in found if not match.limit]
                self._notes.remark(line.file, line.number, what, _limit_told(words))
            if not found:
                return
            if self._unknown is not None:
                raise NoCounterpart(f"a rule before it lets requests skip it: {self._unknown}")
            found = conjunction(found, negation(self._passed)) if self._passed else found
            action = self._action(name, words[1:start], what, line)
        except NoCounterpart as error:
            if name in ("allow", "accept"):
                self._unknown = self._unknown or error
                self._unused.append(line)
            elif name in CLOSING or (name == "return" and _status(words, 200) >= 400):
                self._into.barred.append((line, what, str(error)))
            else:
                message = f"no rule can express this ({error}): these requests go to the backends"
                self._notes.remark(line.file, line.number, what, message)
        except ValueError as error:
            self._notes.problem(line.file, line.number, what, str(error))
        else:
            self._into.converted += [*self._unused, line]
            self._unused.clear()
            self._into.rules += [Rule(match, action, line) for match in merged(found)]

    def _matches(self, condition: Sequence[str]) -> Sequence[Match]:
        found = self._into.exact(alternatives(condition, self._acls))
        if self._of_peer and any(each.client for match in found for each in (match.when, *match.unless)):
            raise NoCounterpart("its condition is about the address that sends PROXY headers")
        return found

    def _action(self, name: str, words: Sequence[str], what: str, line: Line) -> tuple[str, Value]:
        match name:
            case "auth":
                raise NoCounterpart("there are no passwords here")
            case "redirect":
                return "redirect", _redirect(words)
            case "return":
                action = _returned(words)
                if action[0] == "deny":
                    self._tell_answer(what, line)
                return action
            case "deny" | "tarpit":
                if {"content-type", "string", "lf-string", "file", "lf-file", "errorfile", "hdr"} & set(words):
                    self._tell_answer(what, line)
                status = _status(words, 403 if name == "deny" else 500)
                return ("deny", status) if status >= 400 else ("answer", {"status": status})
        if self._proxy.mode == "http":
            message = "closed the connection without an answer: here the answer is 403"
            self._notes.remark(line.file, line.number, what, message, Effect.CHANGED)
        return "deny", 403

    def _tell_answer(self, what: str, line: Line) -> None:
        message = "has an answer of its own: here it is that of listener.error_pages, or a short text"
        self._notes.remark(line.file, line.number, what, message, Effect.CHANGED)


def _behind_proxy(proxy: Proxy) -> bool:
    expects = any("expect-proxy" in line.words for line in proxy.all("tcp-request connection"))
    return expects or any("accept-proxy" in line.words for line in proxy.all("bind"))


def _keys(condition: Condition) -> Iterator[str]:
    for key in condition.keys:
        if key == "header":
            yield from (f"header {name}" for name, _ in condition.header)
        else:
            yield {"path_prefix": "path"}.get(key, key)


def _status(words: Sequence[str], default: int) -> int:
    for option in ("deny_status", "status"):
        if option in words[:-1]:
            text = words[words.index(option) + 1]
            if not (text.isascii() and text.isdigit() and 200 <= int(text) <= 599):
                raise ValueError(f"expected a status from 200 to 599, not {shown(text)}")
            return int(text)
    return default


def _returned(words: Sequence[str]) -> tuple[str, Value]:
    options = dict(zip(words[::2], words[1::2], strict=False))
    status = _status(words, 200)
    if set(options) - {"status", "content-type", "string", "lf-string"} or len(words) % 2:
        if status >= 400:
            return "deny", status
        raise NoCounterpart("only answers with a status and a text are")
    text = options.get("string", options.get("lf-string", ""))
    if "lf-string" in options and not _PLAIN_TEXT.fullmatch(text):
        raise NoCounterpart("its text is computed")
    answer: dict[str, Value] = {"status": status}
    if "content-type" in options:
        answer["type"] = options["content-type"]
    return "answer", answer | ({"text": text} if text else {})


def _redirect(words: Sequence[str]) -> Value:
    kind, target, *options = (*words, "", "")[: max(len(words), 2)]
    made: dict[str, Value] = {}
    if not _PLAIN_TEXT.fullmatch(target):
        raise NoCounterpart("its target is computed")
    match kind:
        case "scheme" if target in _SCHEMES:
            made["scheme"] = target
        case "location":
            made["location"] = target
        case "prefix":
            made |= _prefix(target)
        case _:
            raise ValueError(f"expected redirect location, prefix or scheme, not {shown(kind)}")
    rest = iter(options)
    for option in rest:
        if option == "code":
            if (code := next(rest, "")) not in _CODES:
                raise ValueError(f"expected a code of {', '.join(_CODES)}, not {shown(code)}")
            made["code"] = int(code)
        elif option != "ignore-empty":
            raise NoCounterpart(f"{option} of redirect is not supported")
    return made


def _prefix(target: str) -> Mapping[str, Value]:
    parts = urlsplit(target)
    if not parts.scheme and target.startswith("/") and not target.startswith("//") and target != "/":
        return {"prefix": target}
    if parts.scheme not in _SCHEMES or not parts.netloc or parts.query or parts.fragment:
        raise NoCounterpart(f"the prefix {shown(target)} is not supported")
    path = {"prefix": parts.path} if parts.path.rstrip("/") else {}
    return {"scheme": parts.scheme, "host": parts.netloc, **path}


def _monitor(proxy: Proxy) -> Iterator[Rule]:
    line = proxy.last("monitor-uri")
    if line is not None and len(line.words) > 1 and proxy.serves:
        path, _, query = line.words[1].partition("?")
        if not query:
            yield Rule(Match(Condition(path=(path,))), ("answer", {"text": "Service ready.\n"}), line)


def _statistics(proxy: Proxy) -> Iterator[Rule]:
    """Yield what keeps requests for a statistics page from the backends."""
    lines = proxy.all("stats")
    if lines:
        uris = [line.words[2] for line in lines if line.words[1:2] == ("uri",) and len(line.words) > 2]
        path, _, query = (uris[-1] if uris else "/haproxy?stats").partition("?")
        whole = Condition() if path == "/" else Condition(path_prefix=(path,))
        when = whole.both(Condition(query=(query,))) if query else whole
        yield Rule(Match(when or whole), ("answer", {"status": 404, "text": "Not Found\n"}), lines[-1])


def _limit_told(words: Sequence[str]) -> str:
    return next((text for what, text in _LIMITS.items() if any(what in word for word in words)), _COUNTS)


_COUNTS = "rejects by a counter: see limits.client_rate and limits.max_connections_per_client"
_LIMITS = {
    "conn_rate": "limits how often clients connect: see limits.client_rate",
    "sess_rate": "limits how often clients connect: see limits.client_rate",
    "conn_cur": "limits connections of a client: see limits.max_connections_per_client",
    "http_req_rate": "limits requests of a client: limits.client_rate limits new connections, not requests",
}
"""The purpose of a rejection, by a part of a fetch in its condition."""
