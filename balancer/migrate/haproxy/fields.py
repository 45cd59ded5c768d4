"""Header fields: ``http-request`` and ``http-response`` with ``…-header``, ``option forwardfor``, ``unique-id-header``.

A rule is converted if it applies to all requests of a listener, or to all with or all without TLS. haproxy's sections
follow each other as ours do: requests pass the frontend first, responses the backend.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from balancer.migrate.field_changes import FORWARDED_FOR, FieldChanges, literal
from balancer.migrate.haproxy.acl import Acls, alternatives
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.words import Line
from balancer.migrate.match import Match, NoCounterpart
from balancer.migrate.outcome import Effect, Notes

ACTIONS = ("set-header", "add-header", "del-header")
"""Actions that are converted here."""
_ITEM = re.compile(r"%(?:(%)|\[([^\]]*)\]|(?:\{[^}]*\})?([A-Za-z]+))")
_SAMPLES = {
    "src": "{client_address}",
    "src_port": "{client_port}",
    "dst_port": "{port}",
    "ssl_fc_sni": "{sni}",
    "ssl_fc_protocol": "{tls_version}",
    "ssl_c_s_dn(cn)": "{client_cn}",
    "ssl_c_s_dn(CN)": "{client_cn}",
    "ssl_c_s_dn(,0,rfc2253)": "{client_subject}",
    "ssl_c_s_dn": "{client_subject}",
    "unique-id": "{request_id}",
    "ci": "{client_address}",
    "cp": "{client_port}",
    "fp": "{port}",
    "sslv": "{tls_version}",
    "ID": "{request_id}",
}
_MAY_BE_EMPTY = re.compile(r"(?:\{(?:sni|tls_version|client_cn|client_subject|header:[^}]*)\})+")
_HEADER = re.compile(r"(?:capture\.)?(?:req\.f?hdr|hdr|req_hdr)\(([^(),]+)(?:,-?1)?\)")


@dataclass
class Changes:
    """What a proxy does to requests and to responses."""

    request: FieldChanges = field(default_factory=FieldChanges)
    response: FieldChanges = field(default_factory=FieldChanges)


def field_changes(proxy: Proxy, acls: Acls, ways: frozenset[bool], notes: Notes) -> Changes:
    """Return what a proxy does to header fields; ``ways`` says whether its clients come with TLS, without, or both."""
    found = Changes()
    if proxy.mode != "http":
        return found
    for keyword in ("http-request", "http-response", "http-after-response"):
        into, skipped = found.request if keyword == "http-request" else found.response, False
        for line in proxy.all(keyword):
            action = line.words[1] if len(line.words) > 1 else ""
            skipped = skipped or action in ("allow", "accept")
            if action not in ACTIONS:
                continue
            what = f"{keyword} {action}"
            try:
                if skipped:
                    raise NoCounterpart("a rule before it lets requests skip it")
                _convert(into, line, acls, ways, notes)
            except NoCounterpart as error:
                notes.remark(line.file, line.number, what, f"not converted: {error}")
            except ValueError as error:
                notes.problem(line.file, line.number, what, str(error))
    identifier = proxy.last("unique-id-header")
    if identifier is not None and len(identifier.words) > 1 and proxy.serves:
        found.request.set(identifier.words[1], "{request_id}")
        message = "has the daemon's request id, which has another format"
        notes.remark(identifier.file, identifier.number, "unique-id-header", message, Effect.CHANGED)
    return found


def forwarded_for(proxy: Proxy, notes: Notes) -> str | None:
    """Return the name of the field to which ``option forwardfor`` adds the client's address, if it is there."""
    line = proxy.last("option forwardfor")
    if line is None or proxy.mode != "http":
        return None
    options = line.words[2:]
    for option, told in (("except", "requests from all networks get it"), ("if-none", "it is also added to another")):
        if option in options:
            notes.remark(line.file, line.number, f"option forwardfor {option}", told, Effect.CHANGED)
    return options[options.index("header") + 1] if "header" in options[:-1] else FORWARDED_FOR


def _convert(into: FieldChanges, line: Line, acls: Acls, ways: frozenset[bool], notes: Notes) -> None:
    words = line.words[2:]
    start = next((at for at, word in enumerate(words) if word in ("if", "unless")), len(words))
    arguments, given = words[:start], alternatives(words[start:], acls)
    action = line.words[1]
    if len(arguments) < (1 if action == "del-header" else 2):
        raise ValueError("expected a name" if action == "del-header" else "expected a name and a value")
    applies = {way: _applies(given, way) for way in ways}
    if not any(applies.values()):
        return
    name = arguments[0]
    if action == "del-header":
        if len(arguments) > 1:
            raise NoCounterpart("names are compared whole")
        if not all(applies.values()):
            raise NoCounterpart("it depends on TLS, and this backend has clients with and without")
        into.remove(name)
        return
    value = _value(arguments[1], line, notes)
    if not all(applies.values()):
        if value != ("https" if applies.get(True) else "http"):
            raise NoCounterpart("it depends on TLS, and this backend has clients with and without")
        message = "has the scheme of each request, with and without TLS"
        notes.remark(line.file, line.number, f"http-request {action}", message, Effect.CHANGED)
        value = "{scheme}"
        into.set(name, value)
    elif action == "set-header":
        into.set(name, value)
    else:
        into.add(name, value)


def _applies(given: Sequence[Match], tls: bool) -> bool:
    """Return whether a rule applies to all requests that come this way, or to none of them."""
    left = [match for each in given if (match := each.where(tls=tls)) is not None]
    if Match() in left:
        return True
    if left:
        raise NoCounterpart("fields are changed in all requests, and this has a condition")
    return False


def _value(text: str, line: Line, notes: Notes) -> str:
    value = "".join(_parts(text, line, notes))
    if _MAY_BE_EMPTY.fullmatch(value):
        message = "is left out where its value is empty"
        notes.remark(line.file, line.number, " ".join(line.words[:2]), message, Effect.CHANGED)
    return value


def _parts(text: str, line: Line, notes: Notes) -> Iterator[str]:
    start = 0
    for item in _ITEM.finditer(text):
        yield _constant(text[start : item.start()])
        start = item.end()
        percent, sample, variable = item.groups()
        if percent:
            yield "%"
            continue
        name = (sample or variable).strip()
        if header := _HEADER.fullmatch(name):
            if header[1].lower() == "host":
                yield "{host}"
                continue
            yield f"{{header:{header[1]}}}"
            message = f"of several fields {header[1]}, haproxy took the last value: here they are joined by commas"
            notes.remark(line.file, line.number, " ".join(line.words[:2]), message, Effect.CHANGED)
        elif name in _SAMPLES:
            yield _SAMPLES[name]
            if name == "ssl_c_s_dn":
                message = "has the subject as CN=alice,O=Example in place of /O=Example/CN=alice"
                notes.remark(line.file, line.number, " ".join(line.words[:2]), message, Effect.CHANGED)
        else:
            raise NoCounterpart("its value is computed")
    yield _constant(text[start:])


def _constant(text: str) -> str:
    if "%" in text:
        raise NoCounterpart("its value is computed")
    return literal(text)
