"""What nginx refuses or answers before it proxies: ``return``, ``if``, ``allow``, ``deny``, ``auth_*``, ``internal``.

Each becomes a step that is exactly the same, or it bars the listener, which is then not written.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from balancer.config.scalars import shown
from balancer.migrate.match import Condition, Match, NoCounterpart, conjunction, merged, negation
from balancer.migrate.nginx.chain import inherited, takes_address_from_field
from balancer.migrate.nginx.source import Directive
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.steps import Step
from balancer.migrate.toml import Value

_PASSWORDS = ("auth_basic", "auth_request", "auth_jwt")
_HERE = re.compile(r"(https?)://(?:\$(?:host|http_host|server_name)|([A-Za-z0-9.:-]+))\$request_uri")
_LITERAL = re.compile(r"[!-#%-~]+")
_ALTERNATIVES = re.compile(r"\^\(?([A-Z|]+)\)?\$")
_HOSTS = re.compile(
    r"\^(?:\(((?:[A-Za-z0-9-]|\\\.)+)\)\?|\(((?:[A-Za-z0-9-]|\\\.)+(?:\|(?:[A-Za-z0-9-]|\\\.)+)+)\))?"
    r"((?:[A-Za-z0-9-]|\\\.)*)\$"
)
"""``^a\\.example$``, ``^(www\\.)?a\\.example$`` and ``^(a|b)\\.example$``."""
_PATH = re.compile(r"/[!-$&->@-~]*")
_PREFIX = re.compile(r"\^(/[A-Za-z0-9_/-]*)(\$)?")
_METHOD = "$request_method"


@dataclass
class Guard:
    """The steps in front of a location, and why it cannot be opened without more."""

    steps: list[Step] = field(default_factory=list)
    barred: list[tuple[Directive, str, str]] = field(default_factory=list)
    """Directives that keep clients out and have no counterpart: directive, its name, reason."""
    answered: bool = False
    """Whether no request goes further."""

    def add(self, found: Sequence[Match], action: tuple[str, Value], where: Directive) -> None:
        """Add a step for these alternatives."""
        self.steps += [Step(match, action, f"{where.name} ({where})") for match in merged(found)]
        self.answered = self.answered or Match() in found

    def refuse(self, where: Directive, what: str, reason: str) -> None:
        """Note access control that has no counterpart."""
        self.barred.append((where, what, reason))


def server_guard(chain: Sequence[Directive], notes: Notes) -> Guard:
    """Return what guards all locations of a server, the innermost block of ``chain``."""
    found = Guard()
    _rewrite(chain[-1], found, notes)
    return found


def closes(block: Directive) -> bool:
    """Return whether a block has access control of its own."""
    return any(
        each.name in (*_PASSWORDS, "allow", "deny", "internal", "limit_except", "return")
        or (each.name == "if" and each.last("return") is not None)
        for each in block.block or ()
    )


def connection_guard(chain: Sequence[Directive]) -> Guard:
    """Return what guards a server of ``stream``, the innermost block of ``chain``."""
    found = Guard()
    _addresses(chain, [Match()], found)
    return found


def location_guard(chain: Sequence[Directive], notes: Notes) -> Guard:
    """Return what guards a location, the innermost block of ``chain``."""
    found = Guard()
    _rewrite(chain[-1], found, notes)
    if chain[-1].last("internal") is not None:
        found.add([Match()], ("deny", 404), chain[-1].all("internal")[-1])
    if found.answered:
        return found
    _passwords(chain, found)
    limited = chain[-1].last("limit_except")
    listed = [*limited.args, *(["HEAD"] if "GET" in limited.args else [])] if limited else []
    methods = [Match(Condition(method=tuple(dict.fromkeys(listed))))] if limited else [Match()]
    _addresses(chain, methods, found)
    if limited is not None:
        inner = [*chain, limited]
        _passwords([limited], found)
        _addresses(inner, negation(methods), found)
    return found


def _rewrite(block: Directive, found: Guard, notes: Notes) -> None:
    rewritten = False
    for each in block.block or ():
        if each.name == "rewrite":
            rewritten = True
        elif each.name == "return":
            _return(each, [Match()], found, notes)
            return
        elif each.name == "if" and (answer := each.last("return")) is not None:
            try:
                condition = _condition(each.args)
                if rewritten and any(match.when.keys & {"path", "path_prefix"} for match in condition):
                    raise NoCounterpart("its condition sees the path after a rewrite")
                _return(answer, condition, found, notes)
            except NoCounterpart as error:
                if answer.args and not answer.args[0].startswith(("2", "3", "http")):
                    found.refuse(each, "if", str(error))


def _return(where: Directive, condition: Sequence[Match], found: Guard, notes: Notes) -> None:
    code, text = (*where.args, "", "")[:2]
    if not code.isdigit():
        code, text = "302", code
    status = int(code)
    if status == 444:
        message = "closed the connection without an answer: here the answer is 403"
        notes.remark(where.file, where.line, "return", message, Effect.CHANGED)
        status = 403
    here = _HERE.fullmatch(text)
    if 400 <= status <= 599:
        found.add(condition, ("deny", status), where)
    elif status in (301, 302, 303, 307, 308) and (here or _LITERAL.fullmatch(text)):
        target: dict[str, Value] = {"location": text}
        if text.startswith("/"):
            message = "nginx makes its target absolute, with scheme, host and port: here it is sent as it stands"
            notes.remark(where.file, where.line, "return", message, Effect.CHANGED)
        if here:
            target = {"scheme": here[1], **({"host": here[2]} if here[2] else {})}
            if not here[2] and "$http_host" not in text:
                message = "Location has Host as the client sent it, with its port if there is one"
                notes.remark(where.file, where.line, "return", message, Effect.CHANGED)
        found.add(condition, ("redirect", {**target, "code": status}), where)
    elif 200 <= status < 300 and "$" not in text:
        found.add(condition, ("answer", {"status": status, "text": text}), where)
    else:
        message = "its answer is computed, which is not supported: these requests go to the backends"
        notes.remark(where.file, where.line, "return", message)


def _condition(args: Sequence[str]) -> list[Match]:
    """Return the alternatives of an ``if``. Raise ``NoCounterpart`` for those that no rule can express."""
    words = " ".join(args).removeprefix("(").removesuffix(")").split()
    name, how, value = (*words, "", "", "")[:3]
    positive: list[Match] | None = None
    value = value.strip("\"'")
    if name == "$scheme" and value in ("http", "https"):
        positive = [Match(tls=value == "https")]
    elif name == "$https":
        positive = [Match(tls=True)]
    elif name == _METHOD and how in ("=", "!="):
        positive = [Match(Condition(method=(value,)))]
    elif name == _METHOD and how in ("~", "!~") and (several := _ALTERNATIVES.fullmatch(value)):
        positive = [Match(Condition(method=tuple(several[1].split("|"))))]
    elif name in ("$host", "$http_host") and how in ("=", "!=") and re.fullmatch(r"[A-Za-z0-9.-]+", value):
        positive = [Match(Condition(host=(value.lower(),)))]
    elif name == "$ssl_client_verify" and value in ("SUCCESS", "NONE") and how in ("=", "!="):
        positive = [Match(Condition(certificate=(value == "SUCCESS",)))]
    elif name == "$host" and how in ("~", "~*", "!~", "!~*") and (hosts := _hosts(value)):
        positive = [Match(Condition(host=hosts))]
    elif name in ("$uri", "$document_uri") and how in ("=", "!=") and _PATH.fullmatch(value):
        positive = [Match(Condition(path=(value,)))]
    elif name in ("$uri", "$document_uri") and how in ("~", "!~") and (prefix := _PREFIX.fullmatch(value)):
        positive = [Match(Condition(path=(prefix[1],)) if prefix[2] else Condition(path_prefix=(prefix[1],)))]
    elif name == "$remote_addr" and how in ("=", "!="):
        positive = [Match(Condition(client=(_network(value),)))]
    if positive is None or how not in ("", "=", "!=", "~", "!~", "~*", "!~*"):
        raise NoCounterpart(f"the condition on {shown(name)} is not supported")
    return negation(positive) if how.startswith("!") else positive


def _hosts(expression: str) -> tuple[str, ...]:
    """Return the hosts that a regular expression matches, if it is no more than a list of them; ``$host`` is lower."""
    found = _HOSTS.fullmatch(expression)
    if found is None:
        return ()
    optional, several, rest = (text.replace("\\.", ".").lower() if text else "" for text in found.groups())
    return tuple(each + rest for each in (several.split("|") if several else [optional, ""] if optional else [""]))


def _passwords(chain: Sequence[Directive], found: Guard) -> None:
    for name in _PASSWORDS:
        given = inherited(chain, name)
        if given and given[-1].args[:1] != ("off",):
            found.refuse(given[-1], name, "clients are not authenticated here")


def _addresses(chain: Sequence[Directive], methods: Sequence[Match], found: Guard) -> None:
    given = inherited(chain, "allow", "deny")
    passed: list[Match] = []
    for each in given:
        try:
            mine = _clients(each, chain)
            if each.name == "allow":
                passed += mine
                continue
            denied = conjunction(conjunction(mine, negation(passed)), methods)
        except NoCounterpart as error:
            found.refuse(each, each.name, str(error))
            return
        found.add(denied, ("deny", 403), each)
        if mine == [Match()]:
            return


def _clients(each: Directive, chain: Sequence[Directive]) -> list[Match]:
    text = each.args[0] if each.args else ""
    if text == "all":
        return [Match()]
    if text == "unix:":
        return []
    if takes_address_from_field(chain):
        raise NoCounterpart("the address is taken from a header, and here from the connection or its PROXY header")
    return [Match(Condition(client=(_network(text),)))]


def is_network(text: str) -> bool:
    """Return whether nginx takes this for clients that are allowed or denied."""
    try:
        return text in ("all", "unix:") or bool(_network(text))
    except NoCounterpart:
        return False


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise NoCounterpart(f"{shown(text)} is not a network") from None
