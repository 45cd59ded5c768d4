"""HTTP checks: ``option httpchk`` and ``http-check`` (haproxy 2.6, section 4.2)."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from balancer.config.scalars import shown
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import TomlTable

_HOST = re.compile(r"\r?\nhost:[ \t]*([^\r\n]+)", re.IGNORECASE)
_HOST_VALUE = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,253}")
_PATH = re.compile(r"/[\x21-\x7e]*")
_METHODS = ("GET", "HEAD", "OPTIONS")
_STATUSES = range(200, 600)
_PLAIN = re.compile(r"[A-Za-z0-9 _/:=\"'<>,;!@#&%~-]*")


def write_http(health: TomlTable, proxy: Proxy, notes: Notes) -> None:
    """Write the request and the expected answer to the table ``health``."""
    line = proxy.last("option httpchk") or proxy.head
    words = line.words[2:]
    method, path, host = "OPTIONS", "/", None
    if len(words) == 1:
        path = words[0]
    elif words:
        method, path = words[0], words[1]
        if found := _HOST.search(" ".join(words[2:])):
            host = found[1].strip()
    for sent in proxy.all("http-check send")[-1:]:
        line, pairs = sent, _pairs(sent.words[2:])
        method, path = (
            pairs.get("meth", "GET" if "uri" in pairs and method == "OPTIONS" else method),
            pairs.get("uri", path),
        )
        host = next((value for name, value in _headers(sent.words[2:]) if name.lower() == "host"), host)
        if "body" in pairs or any(name.lower() != "host" for name, _ in _headers(sent.words[2:])):
            notes.remark(sent.file, sent.number, "http-check send", "probes have no headers but Host, and no body")
    if method not in _METHODS:
        notes.remark(
            line.file, line.number, "option httpchk", f"the method {shown(method)} is not supported: probes use GET"
        )
        method = "GET"
    if not _PATH.fullmatch(path):
        notes.problem(
            line.file, line.number, "option httpchk", f"expected a path that starts with /, not {shown(path)}"
        )
    health.set("method", method)
    health.set("path", path)
    if host is not None and _HOST_VALUE.fullmatch(host):
        health.set("host", host)
    elif host is not None:
        notes.remark(
            line.file, line.number, "option httpchk", "Host is computed: probes send the address of the server"
        )
    for step in proxy.all("http-check"):
        if step.words[1:2] not in (("send",), ("expect",), ("disable-on-404",)):
            message = "scripted checks are not supported: a probe is one request with an expected answer (pool.health)"
            notes.remark(step.file, step.number, " ".join(step.words[:2]), message)
    for expected in proxy.all("http-check expect"):
        _expect(health, expected, notes)
    health.set("drain_on_404", bool(proxy.all("http-check disable-on-404")) or None, "disable-on-404")


def _pairs(words: Sequence[str]) -> dict[str, str]:
    return {word: after for word, after in pairwise(words) if word in ("meth", "uri", "ver", "body")}


def _headers(words: Sequence[str]) -> list[tuple[str, str]]:
    return [(words[at + 1], words[at + 2]) for at, word in enumerate(words[:-2]) if word == "hdr"]


def _expect(health: TomlTable, line: Line, notes: Notes) -> None:
    words = list(line.words[2:])
    while words and words[0] in (
        "comment",
        "min-recv",
        "ok-status",
        "error-status",
        "tout-status",
        "on-success",
        "on-error",
    ):
        del words[:2]
    negated = words[:1] == ["!"]
    kind, pattern = ([*words[negated:], "", ""])[:2]
    message = "not supported: probes can expect a status and a text in the body"
    try:
        match kind:
            case "status":
                wanted = _ranges(pattern)
                health.set("expect_status", _classes(lambda status: (status in wanted) != negated))
            case "rstatus":
                regex = re.compile(pattern)
                health.set("expect_status", _classes(lambda status: bool(regex.search(str(status))) != negated))
            case "string" | "rstring" if not negated and pattern and (kind == "string" or _PLAIN.fullmatch(pattern)):
                health.set("expect_body", pattern[:1024])
                if health.keys.get("expect_status") is None:
                    health.set("expect_status", ["2xx", "3xx", "4xx", "5xx"], "only the text decides")
                if health.keys["method"][0] == "HEAD":
                    health.set("method", "GET", "answers to HEAD have no body")
            case _:
                notes.remark(line.file, line.number, "http-check expect", message)
    except (ValueError, re.error) as error:
        notes.problem(line.file, line.number, "http-check expect", str(error))


def _ranges(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or len(part) > 7:
            raise ValueError(f"expected statuses such as 200 or 200-399, not {shown(text)}")
        found.update(range(int(low), int(high or low) + 1))
    return found


def _classes(wanted: Callable[[int], bool]) -> list[str | int]:
    """Return statuses as our configuration writes them: whole classes, and numbers for the rest."""
    found: list[str | int] = []
    for hundreds in range(2, 6):
        members = [status for status in _STATUSES if status // 100 == hundreds and wanted(status)]
        found += [f"{hundreds}xx"] if len(members) == 100 else members
    if not found:
        raise ValueError("no status from 200 to 599 matches")
    return found
