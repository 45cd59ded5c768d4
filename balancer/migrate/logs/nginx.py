"""nginx's access log, in the ``log_format`` of its configuration (ngx_http_log_module), also as JSON.

A line is written when the request has ended; it began ``$request_time`` earlier. ``$upstream_addr`` lists
every server that was tried, separated by commas; after an internal redirect, those of the next location follow a
colon. In values, ``"``, ``\\`` and unprintable bytes are escaped as ``\\xHH``, with ``escape=json`` as in JSON, and
``-`` stands for an empty one.
"""

import json
import re
from collections.abc import Callable, Iterator

from balancer.config.pool import TokenConfig
from balancer.config.scalars import shown
from balancer.errors import Refused
from balancer.migrate.logs.entry import Change, LoggedRequest, Parse, iso_seconds, request_target, seconds
from balancer.migrate.logs.layout import ANY, Field, Part, compiled

_NAMES = {
    "upstream_addr": "servers",
    "upstream_status": "statuses",
    "proxy_host": "group",
    "request": "request",
    "request_uri": "uri",
    "args": "query",
    "query_string": "query",
    "remote_addr": "client",
    "time_local": "date",
    "time_iso8601": "iso",
    "msec": "msec",
    "request_time": "took",
}
_PATTERNS = {
    "date": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
    "iso": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d",
    "msec": r"\d+\.\d{3}",
    "took": r"\d+\.\d{3}",
}
_LIST = r"[\w.:/\[\]@%~+-]++(?:(?:, | : )[\w.:/\[\]@%~+-]++)*+"
"""``$upstream_addr`` and the other variables with one value for each server that was tried."""
_LISTED = re.compile(r"upstream_(?!http_|cookie_|trailer_)")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z0-9_]+)\}|(?P<bare>[A-Za-z0-9_]+))")
_ESCAPE = re.compile(r"escape=(default|json|none)[ \t\r\n]+")
_QUOTED = {"default": r'[^"]*+', "json": r'(?:[^"\\]|\\.)*+', "none": ANY}
"""Quoted values, which end at the first quote that is not escaped."""
_HEX = re.compile(rb"\\x([0-9A-Fa-f]{2})")
_UNREACHABLE = ("502", "504")


def parser(layout: str, rule: TokenConfig) -> Parse:
    """Return a parser of a ``log_format``, which may begin with ``escape=json``; ``rule`` says where tokens are.

    Raise ``Refused`` if a needed variable is missing.
    """
    head = _ESCAPE.match(layout)
    escape = head[1] if head else "default"
    parts = list(_parts(layout[head.end() :] if head else layout, _token_variable(rule), _QUOTED[escape]))
    names = {part.name for part in parts if isinstance(part, Field)}
    if "servers" not in names:
        raise Refused(
            "the format has no $upstream_addr, so requests cannot be compared: the address of the server is missing"
        )
    if not names & {"request", "uri", "query", "token", "client"}:
        raise Refused("the format has none of $request, $request_uri and $args, one of which must contain the token")
    return _NginxLines(compiled(parts), _UNESCAPES[escape], rule)


def _token_variable(rule: TokenConfig) -> str:
    match rule.source:
        case "header":
            return f"http_{(rule.header or '').lower().replace('-', '_')}"
        case "cookie":
            return f"cookie_{rule.cookie}"
        case _:
            return f"arg_{rule.param}"


class _NginxLines:
    def __init__(self, pattern: re.Pattern[bytes], unescape: Callable[[bytes], bytes], rule: TokenConfig) -> None:
        self._pattern = pattern
        self._unescape = unescape
        self._rule = rule

    def __call__(self, line: bytes) -> LoggedRequest | Change | None:
        found = self._pattern.match(line)
        if found is None:
            return None
        try:
            fields = {n: b"" if value == b"-" else self._unescape(value) for n, value in found.groupdict().items()}
            when = _when(fields)
        except ValueError:
            return None
        tried = fields["servers"].decode("latin-1").rpartition(" : ")[2]
        statuses = fields.get("statuses", b"").decode("latin-1").rpartition(" : ")[2]
        return LoggedRequest(
            when=when,
            target=self._target(fields),
            client=fields.get("client", b"").decode("latin-1"),
            group=fields["group"].decode("latin-1") if fields.get("group") else None,
            # If no server was up, the log has the name of the upstream, which is not an address.
            servers=tuple(server for server in tried.split(", ") if ":" in server),
            served=statuses.rpartition(", ")[2] not in _UNREACHABLE,
            fields=self._fields(fields.get("token", b"")),
        )

    def _fields(self, token: bytes) -> bytes:
        """Return the header line that contained the token."""
        if self._rule.source == "header" and token:
            return b"%b: %b\r\n" % ((self._rule.header or "").encode(), token)
        if self._rule.source == "cookie" and token:
            return b"Cookie: %b=%b\r\n" % ((self._rule.cookie or "").encode(), token)
        return b""

    def _target(self, fields: dict[str, bytes]) -> bytes | None:
        if "request" in fields:
            return request_target(fields["request"])
        if "uri" in fields:
            return fields["uri"]
        if "query" in fields:
            return b"/?" + fields["query"]
        if self._rule.source == "query" and "token" in fields:
            return b"/?%b=%b" % (self._rule.param.encode(), fields["token"])
        return b"/" if "token" in fields else None


def _when(fields: dict[str, bytes]) -> int | None:
    """Return when the request began."""
    if "date" in fields:
        ended = float(seconds(fields["date"][:20]))
    elif "iso" in fields:
        ended = float(iso_seconds(fields["iso"]))
    elif "msec" in fields:
        ended = float(fields["msec"])
    else:
        return None
    return int(ended - float(fields.get("took", b"0")))


def _default(value: bytes) -> bytes:
    return _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), value)


def _json(value: bytes) -> bytes:
    if b"\\" not in value:
        return value
    text: str = json.loads(b'"' + value + b'"')
    return text.encode()


_UNESCAPES: dict[str, Callable[[bytes], bytes]] = {"default": _default, "json": _json, "none": bytes}


def _parts(layout: str, token: str, quoted: str) -> Iterator[Part]:
    at, text = 0, ""
    for found in [*_VARIABLE.finditer(layout), None]:
        text = layout[at : found.start() if found else None]
        if "$" in text:
            raise Refused(f"the format has a $ at {shown(text[text.index('$') :], 20)} that does not start a variable")
        if text:
            yield text
        if found is None:
            return
        at = found.end()
        name = found["braced"] or found["bare"]
        meaning = "token" if name.lower() == token.lower() else _NAMES.get(name, "")
        begins_quoted = text.endswith('"') and layout[at : at + 1] == '"'
        pattern = _LIST if _LISTED.match(name) else _PATTERNS.get(meaning) or (quoted if begins_quoted else ANY)
        yield Field(meaning, f"${name}", pattern, "/" if name in ("request_uri", "uri") else "")
