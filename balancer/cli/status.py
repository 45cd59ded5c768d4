"""`balancer status`: an overview of the daemon, its listeners, pools and backends."""

import argparse
import time
from collections.abc import Iterable, Iterator
from typing import Any

from balancer.cli.live import add_verb, as_json, daemon
from balancer.cli.tables import TableCell, count, paint, table
from balancer.config.local_time import format_time
from balancer.config.scalars import format_duration

_REFUSED = {
    "descriptors": "out of file descriptors, raise LimitNOFILE",
    "memory": "memory limit reached (limits.memory)",
    "client_limit": "too many connections of one client (limits.max_connections_per_client)",
    "client_rate": "one client connected too fast (limits.client_rate)",
    "handshakes": "slow TLS handshake cut off because others were waiting (limits.max_handshakes)",
}
_LOST = {
    "disk_full": "its disk is full; make room",
    "slow": "its target does not keep up",
    "failed": "it cannot be written, see the balancer's log",
}
_LEAVING = {"drain": "drains in", "maint": "is in maint in", "removed": "was removed from"}
_STATE_COLOURS = {"ready": "good", "drain": "warning", "maint": "bad", "removed": "warning"}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command's parser."""
    add_verb(verbs, "status", _status, "show an overview of the daemon", reads=True, of_pool=False)


def _status(args: argparse.Namespace) -> str:
    client = daemon(args)
    found = client.ask("GET", "/v1/status")
    if args.json:
        return as_json(found)
    parts = [
        f"balancer {found['version']} ({found['build']}) at {client.address}, up {format_duration(found['uptime'])}, "
        f"{found['connections']} of {found['max_connections']} connections, "
        f"generation {found['generation']}, {count(len(found['workers']), 'worker')}"
    ]
    parts += [paint(line, "warning") for line in warnings(found)]
    for name, listener in found["listeners"].items():
        goal = f"for pool {listener['pool']}" if listener["pool"] else "redirects to https"
        parts.append(
            f"listener {name} on {', '.join(listener['bind'])} {goal}: "
            f"{count(listener['connections'], 'connection')} so far, {listener['handshake_failures']} failed handshakes"
        )
    for pool in found["pools"]:
        if pool["panic"]:
            parts.append(paint(panic_alarm(pool), "bad"))
        parts += [_pool_line(pool), pool_table(pool["backend"], pool["not_in_file"])]
    return "\n".join(parts)


def warnings(found: dict[str, Any]) -> Iterator[str]:
    """Yield a line for everything that needs an operator's attention."""
    if found["draining"]:
        until = _until(found, "closes_at", "those left are closed")
        yield f"the daemon is stopping: it accepts no new connections{until}"
    elif found["lame"]:
        undo = "" if found["drains_at"] is not None else "; to take them again: balancer drain --cancel"
        yield f"the daemon asks for no new clients{_until(found, 'drains_at', 'it stops accepting')}{undo}"
    last = found["last_reload"]
    if last is not None and not last["ok"]:
        first, *others = last["problems"]
        more = f" (and {len(others)} more: balancer reload --dry-run)" if others else ""
        yield f"the last reload was refused, the previous configuration is still active: {first}{more}"
    for worker in found["workers"]:
        if not worker["agrees"]:
            yield f"worker {worker['worker']} does not use the active configuration and rings yet"
    yield from _upgrade_lines(found)
    for process in found["processes"]:
        if process["starts"] > 1:
            yield f"{process['name']} was started {process['starts']} times; last end: {process['last_end']}"
    if found["starved"]:
        yield "new connections are refused: memory limit reached (limits.memory)"
    if not found["state_kept"]:
        yield "pins, states and weights are lost when the daemon ends: set state_dir in its configuration"
    for name, tunnels in found["removed_pools"].items():
        yield f"pool {name} was removed: {count(tunnels, 'tunnel')} are left"
    for pool in found["pools"]:
        for backend in pool["backend"]:
            if backend["state"] != "ready":
                where = f"{_LEAVING[backend['state']]} pool {pool['name']}"
                yield f"backend {backend['name']} {where}: {left_text(backend)}"
            if (backend["health"] or {}).get("same_hash"):
                yield (
                    f"backend {backend['name']} places tokens by the hash and seed of pool {pool['name']}, and so uses "
                    "few of its hosts: give each tier a seed of its own"
                )
    if found["crashes"]:
        yield f"{count(found['crashes'], 'connection')} closed by an internal error: see the balancer's log"
    for reason, number in found["log_lines_lost"].items():
        if number:
            yield f"{count(number, 'access log line')} lost: {_LOST[reason]}"
    for reason, number in found["refused_connections"].items():
        if number:
            yield f"{count(number, 'connection')} refused: {_REFUSED[reason]}"


def _upgrade_lines(found: dict[str, Any]) -> Iterator[str]:
    upgrade = found["upgrade"]
    if upgrade["state"] in ("rehearsing", "running"):
        what = "being rehearsed" if upgrade["state"] == "rehearsing" else "under way"
        yield f"an upgrade to {upgrade['version'] or upgrade['release']} is {what}, asked for by {upgrade['who']}"
    elif upgrade["state"] == "went back":
        yield f"the last upgrade, to {upgrade['version']}, has failed and went back: {upgrade['problem']}"
    for each in found["previous"]:
        oldest = f", oldest {format_duration(each['oldest'])}" if each["oldest"] is not None else ""
        left = f"{count(each['workers'], 'worker')}, {count(each['tunnels'], 'tunnel')}{oldest}"
        yield f"previous: {each['version']}, {left}; to end them: balancer upgrade --finish"


def _until(found: dict[str, Any], key: str, what: str) -> str:
    at = found[key]
    return "" if at is None else f"; {what} at {format_time(at)} (in {format_duration(at - time.time())})"


def panic_alarm(pool: dict[str, Any]) -> str:
    """Return the panic_alarm about a pool in panic mode."""
    return f"PANIC in pool {pool['name']}: {pool['healthy']:.0%} of it is healthy, so health is ignored"


def _pool_line(pool: dict[str, Any]) -> str:
    strays = "" if pool["strays"] is None else f", {count(pool['strays'], 'stray')}"
    return (
        f"pool {pool['name']}: {pool['algorithm']} {pool['fingerprint']}, {pool['available']} of "
        f"{count(pool['backends'], 'backend')} take new users; {count(pool['users'], 'user')} with "
        f"{count(pool['tunnels'], 'tunnel')}, {count(pool['pins'], 'pin')}{strays}"
    )


def pool_table(backends: Iterable[dict[str, Any]], not_in_file: Iterable[dict[str, Any]]) -> str:
    """Return a table of the backends, and below it what was decided about them that is not in the file."""
    return "\n".join([backends_table(backends), *(f"  {paint(each['text'], 'warning')}" for each in not_in_file)])


def backends_table(backends: Iterable[dict[str, Any]]) -> str:
    """Return a table with a row for each backend."""
    heads = ("backend", "address", "state", "up", "weight", "share", "users", "tunnels", "requests", "errors", "closes")
    return table(heads, [_row(backend) for backend in backends])


def _row(backend: dict[str, Any]) -> list[TableCell | str]:
    return [
        backend["name"],
        backend["address"],
        state_cell(backend),
        up_cell(backend),
        weight_text(backend),
        "" if backend["share"] is None else f"{backend['share']:.1%}",
        str(backend["users"]),
        str(backend["tunnels"]),
        str(backend["requests"]),
        str(backend["connect_errors"] + backend["response_errors"]),
        closes_text(backend),
    ]


def left_text(backend: dict[str, Any]) -> str:
    """Return how many are left on a backend that takes no new users, and how long they may stay."""
    left = f"{count(backend['users'], 'user')} with {count(backend['tunnels'], 'tunnel')} are left"
    if backend["cut_at"] is None:
        return f"{left}, and may stay"
    if not backend["cut_in"]:
        return f"{left}, and are being closed"
    return f"{left}, until {format_time(backend['cut_at'])} (in {format_duration(backend['cut_in'])})"


def closes_text(backend: dict[str, Any]) -> str:
    """Return when the remaining tunnels of a backend are closed, for a table; empty for a backend that takes users."""
    if backend["state"] == "ready":
        return ""
    if backend["cut_at"] is None:
        return "never"
    return f"in {format_duration(backend['cut_in'])}" if backend["cut_in"] else "now"


def state_cell(backend: dict[str, Any]) -> TableCell:
    """Return the administrative state as a cell."""
    return TableCell(backend["state"], _STATE_COLOURS[backend["state"]])


def weight_text(backend: dict[str, Any]) -> str:
    """Return the weight, and the target of a gradual change."""
    if backend["backup"]:
        return "backup"
    ramp = backend["ramp"]
    weight = f"{backend['weight']:g}"
    if ramp is not None:
        weight += f" -> {ramp['to']:g}, {'paused' if ramp['paused'] else 'in ' + format_duration(ramp['left'])}"
    return weight


def up_cell(backend: dict[str, Any]) -> TableCell:
    """Return the health as a cell: up, down, ejected, or starting slowly."""
    if backend["state"] == "removed":
        return TableCell("-")
    if not backend["up"]:
        return TableCell(backend["why_down"], "bad")
    health = backend["health"] or {}
    if health.get("ejected"):
        return TableCell(f"up, {health['ejected']}, {format_duration(health['ejected_for'])} left", "bad")
    if health.get("wish"):
        return TableCell(f"up, {health['wish']}", "warning")
    if health.get("points", 1) < 1:
        return TableCell(f"up, starts with {health['points']:.0%} of its points", "warning")
    return TableCell("up", "good")
