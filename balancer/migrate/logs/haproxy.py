"""haproxy's log: built-in formats, ``log-format`` (manual, sections 8.2 and 8.6), and state changes of servers.

Observed with haproxy 2.6: ``%r``, ``%HU`` and ``%HQ`` write ``"``, ``#`` and unprintable bytes as ``#`` and two
hex digits. Captured headers are omitted, with the space after them, if there are none. Repeated spaces become one.
``%rc`` begins with ``+`` if the request was redispatched. A line is truncated after 1024 bytes unless ``log`` sets
``len``. An invalid request is ``<BADREQ>``, its server ``<NOSRV>``. ``%t`` and ``%tr`` are in local time,
as syslog is; ``%T`` is not. Changes of servers are logged at once, requests when they end.
"""

import re
from collections.abc import Iterator

from balancer.config.scalars import shown
from balancer.errors import Refused
from balancer.migrate.logs.entry import (
    Change,
    LoggedRequest,
    Parse,
    iso_seconds,
    request_target,
    seconds,
    syslog_seconds,
)
from balancer.migrate.logs.layout import ANY, Field, Optional, Part, compiled

FORMATS = {
    "httplog": "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq "
    "%hr %hs %{+Q}r",
    "tcplog": "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq",
    "clf": '%{+Q}o %{-Q}ci - - [%T] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc %sc %rc',
}
"""The formats of ``option httplog`` and ``option httpslog``, ``option tcplog`` and ``option httplog clf``."""

_NAMES = {
    "b": "group",
    "s": "server",
    "ci": "client",
    "r": "request",
    "HU": "uri",
    "HQ": "query",
    "[capture.req.uri]": "uri",
    "rc": "retries",
    "ts": "flags",
    "tsc": "flags",
    "t": "date",
    "tr": "date",
    "T": "date",
    "Tl": "date",
    "trg": "date",
    "trl": "date",
}
_PATTERNS = {
    "client": r"(?:[0-9A-Fa-f.:]{2,45}|unix|-)",
    "date": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?:\.\d{3})?(?: [+-]\d{4})?",
    "flags": r"[A-Za-z-]{2,4}",
}
_NUMBER = re.compile(r"B|ST|T[RTwcratuihdqs]|U|[afbsr]c|[sb]q|[cfbs]p|ms|pid|rt|lc")
_ITEM = re.compile(r"%(?:\{(?P<flags>[^}]*)\})?(?P<name>\[(?:[^\]\"']|\"[^\"]*\"|'[^']*')*\]|[A-Za-z]+|%)")
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")
_QUOTED = '[^"]*+'
_QUOTABLE = (ANY, _QUOTED, _PATTERNS["client"])
_SYSLOG = re.compile(
    rb"(?:<\d{1,3}>)?(?:1 )?"
    rb"(?:(?P<bsd>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d)|(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)\S*+) "
    rb"(?:(?>[^ \[\]]+ ){0,2}?(?>[^ \[\]:]+(?:\[\d*\])?): |(?>(?:\S+ ){4}(?:-|\[[^\]]*\]) ))"
)
"""The prefix that syslog adds: the common form of the header of RFC 3164, or that of RFC 5424."""
_CHANGE = re.compile(
    rb"(?:Backup )?Server (?P<group>[^/ ]+)/(?P<server>[^/ ]+) "
    rb"(?:(?P<down>is DOWN|is going DOWN|is stopping|enters drain state)|(?P<up>is UP))"
)
_UNPLACED = ("<NOSRV>", "<STATS>", "<PROMEX>", "-", "")


def parser(layout: str) -> Parse:
    """Return a parser of a ``log-format``, or of one of ``FORMATS``. Raise ``Refused`` if a needed field is missing."""
    parts = list(_parts(FORMATS.get(layout, layout)))
    names = {part.name for part in parts if isinstance(part, Field)}
    if "server" not in names:
        raise Refused("the format has no %s, so requests cannot be compared: the name of the server is missing")
    if not names & {"request", "uri", "query", "client"}:
        raise Refused("the format has none of %r, %HU, %HQ and %ci, one of which must contain the token")
    return _HaproxyLines(compiled(parts))


def detector() -> Parse:
    """Return a parser of lines in any of ``FORMATS``."""
    parsers = [parser(name) for name in FORMATS]

    def parse(line: bytes) -> LoggedRequest | Change | None:
        for i, each in enumerate(parsers):
            found = each(line)
            if found is not None:
                if i and isinstance(found, LoggedRequest):
                    parsers.insert(0, parsers.pop(i))
                return found
        return None

    return parse


class _HaproxyLines:
    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self._year = 1970

    def __call__(self, line: bytes) -> LoggedRequest | Change | None:
        header = _SYSLOG.match(line)
        start = header.end() if header else 0
        found = self._pattern.match(line, start)
        try:
            if found is not None:
                return self._request(found.groupdict())
            if header is not None and (change := _CHANGE.match(line, start)):
                return self._change(header, change)
        except ValueError:
            pass
        return None

    def _request(self, fields: dict[str, bytes | None]) -> LoggedRequest:
        server = _text(fields["server"])
        flags = fields.get("flags") or b"----"
        date = fields.get("date")
        when = None
        if date:
            when = seconds(date[:20])
            self._year = int(date[7:11])
        return LoggedRequest(
            when=when,
            target=_target(fields),
            client=_text(fields.get("client")).removeprefix("::ffff:"),
            group=_text(fields["group"]) if "group" in fields else None,
            servers=() if server in _UNPLACED else (server,),
            served=flags[1:2] not in (b"C", b"Q"),
            redispatched=(fields.get("retries") or b"").startswith(b"+"),
            by_cookie=flags[2:3] in (b"V", b"E", b"O", b"U"),
        )

    def _change(self, header: re.Match[bytes], change: re.Match[bytes]) -> Change:
        bsd, iso = header["bsd"], header["iso"]
        when = syslog_seconds(bsd, self._year) if bsd else iso_seconds(iso)
        return Change(when, _text(change["group"]), _text(change["server"]), change["up"] is not None)


def _target(fields: dict[str, bytes | None]) -> bytes | None:
    if (line := fields.get("request")) is not None:
        target = request_target(line)
    elif (target := fields.get("uri")) is None and (query := fields.get("query")) is not None:
        target = b"/" + query
    return None if target is None or target == b"<BADREQ>" else _ESCAPED.sub(_byte, target)


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode())


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1")


def _parts(layout: str) -> Iterator[Part]:
    """Split a format. Quotes around a field become text, and so do the ends of captured headers."""
    quoted, text, at = False, "", 0
    swallowed = True  # a space at the beginning, or after captured headers
    layout = re.sub(r"\\(.)", r"\1", layout)
    for found in [*_ITEM.finditer(layout), None]:
        between = layout[at : found.start() if found else None]
        if "%" in between:
            raise Refused(
                f"the format has a % at {shown(between[between.index('%') :], 20)} that does not start a field"
            )
        text += between
        if found is None:
            break
        at = found.end()
        name, flags = found["name"], found["flags"] or ""
        wants = "+Q" in flags or (quoted and "-Q" not in flags)
        match name:
            case "%":
                text += "%"
                continue
            case "o":
                quoted = wants
                continue
            case "hr" | "hs":
                part: Part = Optional(r"\{[^}]*\} ")
            case _:
                part = _field(name, wants)
        quote = '"' if wants and isinstance(part, Field) and part.pattern in _QUOTABLE else ""
        yield from _text_part(text + quote, swallowed)
        yield part
        text, swallowed = quote, isinstance(part, Optional)
    yield from _text_part(text, swallowed)


def _text_part(text: str, swallowed: bool) -> Iterator[str]:
    text = re.sub(" +", " ", text)
    if text := text.removeprefix(" ") if swallowed else text:
        yield text


def _field(name: str, quoted: bool) -> Field:
    meaning = _NAMES.get(name, "")
    pattern = r"[-+]?\d+" if _NUMBER.fullmatch(name) else _PATTERNS.get(meaning, ANY)
    if quoted and name in ("r", "HU", "HQ", "HP"):
        pattern = _QUOTED
    begins = "/" if name in ("HU", "HP") else "?" if name == "HQ" else ""
    return Field(meaning, f"%{name}", pattern, begins)
