"""Health checks: ``check``, ``option httpchk``, ``http-check`` and the agent (haproxy 2.6, 4.2 and 5.2)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from balancer.config.scalars import shown
from balancer.migrate.haproxy.check_http import write_http
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import milliseconds
from balancer.migrate.haproxy.server import HaproxyServer
from balancer.migrate.haproxy.words import Line
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import TomlTable, duration

_INTER = 2000
_RISE, _FALL = 2, 3
_ERROR_LIMIT = 10
_KINDS = ("httpchk", "tcp-check", "ssl-hello-chk")
_OTHER_KINDS = ("ldap", "mysql", "pgsql", "redis", "spop", "external")


@dataclass(frozen=True)
class Times:
    """Intervals of the probes of a server in milliseconds, and its thresholds."""

    interval: int
    fast: int | None
    down: int | None
    rise: int
    fall: int


def write_health(
    pool: TomlTable, proxy: Proxy, servers: Sequence[HaproxyServer], spread: int, notes: Notes
) -> Times | None:
    """Write ``pool.health``; return what most servers have, or None if none is probed. ``spread`` is in percent."""
    probed = [server for server in servers if server.get("check") is not None]
    _tell_unsupported(servers, notes)
    if not probed:
        return None
    common = Counter(times(server, notes) for server in probed).most_common(1)[0][0]
    health = pool.table("health", "the checks of most servers of this backend")
    kind = _kind(proxy, probed)
    health.set("type", kind)
    if kind == "http":
        write_http(health, proxy, notes)
    limit = proxy.last("timeout check")
    health.set("interval", duration(common.interval), "inter")
    for key, value, word in (
        ("fast_interval", common.fast, "fastinter"),
        ("down_interval", common.down, "downinter"),
    ):
        health.set(key, duration(value) if value else None, word)
    given = _time(limit.words[2], notes, limit) if limit and len(limit.words) > 2 else 0
    timeout = given or common.interval
    health.set("timeout", duration(min(timeout, common.interval)), "timeout check" if limit else "inter bounds it")
    health.set("rise", common.rise)
    health.set("fall", common.fall)
    if spread:
        health.set("jitter", spread / 100, "spread-checks")
    _on_down(health, probed, notes)
    if slow := next((server.options["slowstart"] for server in servers if server.get("slowstart")), None):
        health.set("slow_start", duration(ramp) if (ramp := _time(slow[0], notes, slow[1])) else None, "slowstart")
    health.set("panic_threshold", 0.0, "as in haproxy: 503 if no server is up")
    if kind == "tls":
        _tls(health, proxy, probed)
    for server in probed:
        if server.get("check-ssl") is not None and server.get("ssl") is None and kind == "http":
            line = server.options["check-ssl"][1]
            message = "checks over TLS a server without TLS: probes connect as requests do, without TLS"
            notes.remark(line.file, line.number, "server check-ssl", message)
    _passive(health, probed, notes)
    _agent(health, probed, notes)
    return common


def _tell_unsupported(servers: Sequence[HaproxyServer], notes: Notes) -> None:
    """Report options of checks that have no counterpart for the server they are for."""
    for server in servers:
        for option, needed, message in (
            ("agent-check", "check", "asks an agent of a server that is not checked: agents belong to probes here"),
            ("check-send-proxy", "send-proxy", "sends a PROXY header in checks only: probes do as requests"),
        ):
            lacks = not any(each.startswith(needed) for each in server.options if each != option)
            if server.get(option) is not None and lacks:
                line = server.options[option][1]
                notes.remark(line.file, line.number, f"server {option}", message)


def write_difference(backend: TomlTable, server: HaproxyServer, common: Times | None, notes: Notes) -> None:
    """Write what differs in the probes of one server."""
    if common is None:
        return
    if server.get("check") is None:
        backend.set("check", False, "has no option check")
        return
    own = times(server, notes)
    table = backend.table("health")
    table.set("interval", duration(own.interval) if own.interval != common.interval else None)
    for key, mine, others in (("fast_interval", own.fast, common.fast), ("down_interval", own.down, common.down)):
        table.set(key, duration(mine or own.interval) if mine != others else None)
    table.set("rise", own.rise if own.rise != common.rise else None)
    table.set("fall", own.fall if own.fall != common.fall else None)


def times(server: HaproxyServer, notes: Notes) -> Times:
    """Return the times of a server's probes; ``fastinter`` is ignored unless it is shorter than ``inter``."""

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


def _kind(proxy: Proxy, probed: Sequence[HaproxyServer]) -> str:
    options = [line.words[1] for line in proxy.all("option") if len(line.words) > 1]
    chosen = [each for each in options if each in _KINDS or each.partition("-")[0] in _OTHER_KINDS or each == "smtpchk"]
    if chosen[-1:] == ["httpchk"] and proxy.last("option httpchk"):
        return "http"
    if chosen[-1:] == ["ssl-hello-chk"] or any(server.get("ssl") is not None for server in probed):
        return "tls"
    return "tls" if any(server.get("check-ssl") is not None for server in probed) else "tcp"


def _tls(health: TomlTable, proxy: Proxy, probed: Sequence[HaproxyServer]) -> None:
    tls = health.table("tls")
    if proxy.last("option ssl-hello-chk"):
        tls.set("verify", False, "any answer to a ClientHello is accepted")
    elif all(server.get("ssl") is None for server in probed):
        tls.set("verify", any(server.get("verify") == "required" for server in probed), "check-ssl")
    tls.set("server_name", next((name for server in probed if (name := server.get("check-sni"))), None))


def _on_down(health: TomlTable, probed: Iterable[HaproxyServer], notes: Notes) -> None:
    actions = [server.options.get("on-marked-down") for server in probed]
    if all(action and action[0] == "shutdown-sessions" for action in actions):
        health.set("on_down", "close", "on-marked-down shutdown-sessions")
        return
    for action in actions:
        if action:
            message = "closes connections when a server goes down: here only for a whole pool (pool.health.on_down)"
            notes.remark(action[1].file, action[1].number, "server on-marked-down", message)


def _passive(health: TomlTable, probed: Iterable[HaproxyServer], notes: Notes) -> None:
    observing = [server for server in probed if server.get("observe")]
    if not observing:
        return
    first = observing[0]
    layer, line = first.options["observe"]
    if layer not in ("layer4", "layer7"):
        notes.problem(line.file, line.number, "server observe", f"expected layer4 or layer7, not {shown(layer)}")
    for server in observing:
        at = server.options["observe"][1]
        message = "here it applies to the whole pool, and no single client can eject a host (pool.health.passive)"
        notes.remark(at.file, at.number, "server observe", message)
    action = first.get("on-error") or "fastinter"
    passive = health.table("passive", f"observe {layer}, on-error {action}")
    passive.set("mode", "dry_run" if action == "fastinter" else "on")
    passive.set("outcomes", ["connect"] if layer == "layer4" else ["connect", "timeout", "reset", "5xx"])
    passive.set("consecutive", min(int(first.get("error-limit") or _ERROR_LIMIT), 1000), "error-limit")
    passive.set("failure_rate", 0.0, "haproxy counts only consecutive failures")


def _agent(health: TomlTable, probed: Iterable[HaproxyServer], notes: Notes) -> None:
    asked = [server for server in probed if server.get("agent-check") is not None]
    ports = Counter(port for server in asked if (port := server.get("agent-port")))
    if not ports:
        return
    chosen = ports.most_common(1)[0][0]
    for server in asked:
        if server.get("agent-port") not in (chosen, None):
            line = server.options["agent-port"][1]
            message = f"agents of a pool have one port, here {chosen}, which is used for this server too"
            notes.remark(line.file, line.number, "server agent-port", message)
    agent = health.table("agent", "agent-check")
    agent.set("port", int(chosen))
    interval = asked[0].options.get("agent-inter")
    agent.set("interval", duration(_time(interval[0], notes, interval[1])) if interval else "2s")
