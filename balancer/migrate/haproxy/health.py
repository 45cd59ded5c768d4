"""How servers are probed: ``check``, ``option httpchk``, ``http-check`` and the agent (haproxy 2.6, 4.2 and 5.2)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from balancer.config.scalars import shown
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import milliseconds
from balancer.migrate.haproxy.server import Server
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import Table, duration

_INTER = 2000
_RISE, _FALL = 2, 3
_KINDS = ("httpchk", "tcp-check", "ssl-hello-chk")
_OTHER_KINDS = ("ldap", "mysql", "pgsql", "redis", "spop", "external")
_HOST = re.compile(r"\r?\nhost:[ \t]*([^\r\n]+)", re.IGNORECASE)
_HOST_VALUE = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,253}")
_PATH = re.compile(r"/[\x21-\x7e]*")
_METHODS = ("GET", "HEAD", "OPTIONS")
_STATUSES = range(200, 600)
_PLAIN = re.compile(r"[A-Za-z0-9 _/:=\"'<>,;!@#&%~-]*")


@dataclass(frozen=True)
class Times:
    """Intervals of a server's probes in milliseconds, and its thresholds."""

    interval: int
    fast: int | None
    down: int | None
    rise: int
    fall: int


def write_health(pool: Table, proxy: Proxy, servers: Sequence[Server], spread: int, notes: Notes) -> Times | None:
    """The table ``pool.health``; what most servers have, or ``None`` if none is probed. ``spread`` is in percent."""
    probed = [server for server in servers if server.get("check") is not None]
    if not probed:
        return None
    common = Counter(times(server, notes) for server in probed).most_common(1)[0][0]
    health = pool.table("health", "as most servers of this backend are checked")
    kind = _kind(proxy, probed)
    health.set("type", kind)
    if kind == "http":
        _http(health, proxy, notes)
    limit = proxy.last("timeout check")
    health.set("interval", duration(common.interval), "inter")
    for key, value, word in (
        ("fast_interval", common.fast, "fastinter"),
        ("down_interval", common.down, "downinter"),
    ):
        health.set(key, duration(value) if value else None, word)
    timeout = _time(limit.words[2], notes, limit) if limit and len(limit.words) > 2 else common.interval
    health.set("timeout", duration(min(timeout, common.interval)), "timeout check" if limit else "inter bounds it")
    health.set("rise", common.rise)
    health.set("fall", common.fall)
    if spread:
        health.set("jitter", spread / 100, "spread-checks")
    _on_down(health, probed, notes)
    if slow := next((server.options["slowstart"] for server in servers if server.get("slowstart")), None):
        health.set("slow_start", duration(_time(slow[0], notes, slow[1])), "slowstart")
    health.set("panic_threshold", 0.0, "as haproxy: however few are up, they get everybody")
    if kind == "tls":
        _tls(health, proxy, probed)
    for server in probed:
        if server.get("check-ssl") is not None and server.get("ssl") is None and kind == "http":
            line = server.options["check-ssl"][1]
            message = "checks over TLS of a server without: probes go as requests do, in clear text"
            notes.remark(line.file, line.number, "server check-ssl", message)
    _agent(health, probed, notes)
    return common


def write_difference(backend: Table, server: Server, common: Times | None, notes: Notes) -> None:
    """What is different for the probes of one server."""
    if common is None:
        return
    if server.get("check") is None:
        backend.set("check", False, "without the word check")
        return
    own = times(server, notes)
    table = backend.table("health")
    table.set("interval", duration(own.interval) if own.interval != common.interval else None)
    for key, mine, others in (("fast_interval", own.fast, common.fast), ("down_interval", own.down, common.down)):
        table.set(key, duration(mine or own.interval) if mine != others else None)
    table.set("rise", own.rise if own.rise != common.rise else None)
    table.set("fall", own.fall if own.fall != common.fall else None)


def times(server: Server, notes: Notes) -> Times:
    """The times of a server's probes; ``fastinter`` longer than ``inter`` is of no use and left out."""

    def given(option: str) -> int | None:
        found = server.options.get(option)
        return _time(found[0], notes, found[1]) if found else None

    interval = given("inter") or _INTER
    fast = given("fastinter")
    rise, fall = int(server.get("rise") or _RISE), int(server.get("fall") or _FALL)
    fast = fast if fast and fast < interval else None
    return Times(max(100, interval), fast and max(100, fast), given("downinter"), min(rise, 1000), min(fall, 1000))


def _time(text: str, notes: Notes, line: Line) -> int:
    try:
        return milliseconds(text)
    except ValueError as error:
        notes.problem(line.file, line.number, line.words[0], str(error))
        return _INTER


def _kind(proxy: Proxy, probed: Sequence[Server]) -> str:
    options = [line.words[1] for line in proxy.all("option") if len(line.words) > 1]
    chosen = [each for each in options if each in _KINDS or each.partition("-")[0] in _OTHER_KINDS or each == "smtpchk"]
    if chosen[-1:] == ["httpchk"] and proxy.last("option httpchk"):
        return "http"
    if chosen[-1:] == ["ssl-hello-chk"] or any(server.get("ssl") is not None for server in probed):
        return "tls"
    return "tls" if any(server.get("check-ssl") is not None for server in probed) else "tcp"


def _tls(health: Table, proxy: Proxy, probed: Sequence[Server]) -> None:
    tls = health.table("tls")
    if proxy.last("option ssl-hello-chk"):
        tls.set("verify", False, "any answer to a ClientHello will do")
    elif all(server.get("ssl") is None for server in probed):
        tls.set("verify", any(server.get("verify") == "required" for server in probed), "check-ssl")
    tls.set("server_name", next((name for server in probed if (name := server.get("check-sni"))), None))


def _http(health: Table, proxy: Proxy, notes: Notes) -> None:
    line = proxy.last("option httpchk")
    assert line is not None
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
            notes.remark(sent.file, sent.number, "http-check send", "headers but Host, and a body: probes have none")
    if method not in _METHODS:
        notes.remark(line.file, line.number, "option httpchk", f"the method {shown(method)}: GET is asked instead")
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
        notes.remark(line.file, line.number, "option httpchk", "a Host that is computed: it is the server's address")
    for step in proxy.all("http-check"):
        if step.words[1:2] not in (("send",), ("expect",), ("disable-on-404",)):
            message = "a step of a scripted check: the probe is one request with an expected answer (pool.health)"
            notes.remark(step.file, step.number, " ".join(step.words[:2]), message)
    for expected in proxy.all("http-check expect"):
        _expect(health, expected, notes)
    health.set("drain_on_404", bool(proxy.all("http-check disable-on-404")) or None, "disable-on-404")


def _pairs(words: Sequence[str]) -> dict[str, str]:
    return {word: after for word, after in pairwise(words) if word in ("meth", "uri", "ver", "body")}


def _headers(words: Sequence[str]) -> list[tuple[str, str]]:
    return [(words[at + 1], words[at + 2]) for at, word in enumerate(words[:-2]) if word == "hdr"]


def _expect(health: Table, line: Line, notes: Notes) -> None:
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
    message = "an expectation that probes do not have: status and a text in the body can be asked for"
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
                    health.set("expect_status", ["2xx", "3xx", "4xx", "5xx"], "the text alone decides")
                if health.keys["method"][0] == "HEAD":
                    health.set("method", "GET", "the answer to HEAD has no text")
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
    """Statuses as our configuration has them: whole classes, and numbers for the rest."""
    found: list[str | int] = []
    for hundreds in range(2, 6):
        members = [status for status in _STATUSES if status // 100 == hundreds and wanted(status)]
        found += [f"{hundreds}xx"] if len(members) == 100 else members
    if not found:
        raise ValueError("no status from 200 to 599 fulfils this")
    return found


def _on_down(health: Table, probed: Iterable[Server], notes: Notes) -> None:
    actions = [server.options.get("on-marked-down") for server in probed]
    if all(action and action[0] == "shutdown-sessions" for action in actions):
        health.set("on_down", "close", "on-marked-down shutdown-sessions")
        return
    for action in actions:
        if action:
            message = "closes the connections of a server that is down: only for a whole pool (pool.health.on_down)"
            notes.remark(action[1].file, action[1].number, "server on-marked-down", message)


def _agent(health: Table, probed: Iterable[Server], notes: Notes) -> None:
    asked = [server for server in probed if server.get("agent-check") is not None]
    ports = Counter(port for server in asked if (port := server.get("agent-port")))
    if not ports:
        return
    chosen = ports.most_common(1)[0][0]
    for server in asked:
        if server.get("agent-port") not in (chosen, None):
            line = server.options["agent-port"][1]
            message = f"agents listen on one port in a pool, here {chosen}: this server's is asked there as well"
            notes.remark(line.file, line.number, "server agent-port", message)
    agent = health.table("agent", "agent-check")
    agent.set("port", int(chosen))
    interval = asked[0].options.get("agent-inter")
    agent.set("interval", duration(_time(interval[0], notes, interval[1])) if interval else "2s")
