"""Limits of servers, and retries (haproxy 2.6, sections 4.2 and 5.2)."""

from collections import Counter
from collections.abc import Sequence

from balancer.config.section import MAX_CONNECTIONS
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import number, timeout
from balancer.migrate.haproxy.server import HaproxyServer
from balancer.migrate.outcome import Effect, Notes
from balancer.migrate.toml import TomlTable, duration

_MOST_RETRIES = 1000


def write_limits(pool: TomlTable, proxy: Proxy, servers: Sequence[HaproxyServer], hashed: bool, notes: Notes) -> int:
    """Write the limits and retries of the pool; return the limit of most servers, 0 if there is none."""
    common = Counter(limit(server) for server in servers).most_common(1)[0][0]
    pool.set("max_connections", common or None, "maxconn")
    if any(limit(server) for server in servers):
        _queue(pool, proxy, servers, notes)
    elif line := proxy.last("timeout queue"):
        notes.remark(
            line.file, line.number, "timeout queue", "no server has a maxconn, so no request is queued", Effect.NONE
        )
    retry = pool.table("retry")
    if (line := proxy.last("retries")) and len(line.words) > 1:
        try:
            retry.set("count", min(number(line.words[1], 0, 2**31 - 1), _MOST_RETRIES), "retries")
        except ValueError as error:
            notes.problem(line.file, line.number, "retries", str(error))
    if hashed and proxy.last("option redispatch") is None:
        message = (
            "without option redispatch haproxy answers 503 if the server of a request does not accept connections: "
            "here the next server in the user's order is tried after the retries"
        )
        notes.remark(proxy.head.file, proxy.head.number, f"{proxy.kind} {proxy.name}", message, Effect.CHANGED)
    for line in proxy.all("option redispatch"):
        if len(line.words) > 2:
            message = "when another server is tried: here the next one in the user's order, after the retries"
            notes.remark(line.file, line.number, "option redispatch", message, Effect.CHANGED)
    return common


def limit(server: HaproxyServer) -> int:
    """Return the limit of concurrent connections, 0 if there is none."""
    return min(int(server.get("maxconn") or 0), MAX_CONNECTIONS)


def _queue(pool: TomlTable, proxy: Proxy, servers: Sequence[HaproxyServer], notes: Notes) -> None:
    lengths = [int(server.get("maxqueue") or 0) for server in servers]
    longest = MAX_CONNECTIONS if 0 in lengths else min(max(lengths), MAX_CONNECTIONS)
    pool.set("queue", longest, "maxqueue, the longest of all servers; without it haproxy has no limit")
    for name in ("queue", "connect"):
        line = proxy.last(f"timeout {name}")
        if line is not None and len(line.words) > 2:
            try:
                pool.set("queue_timeout", duration(timeout(line.words[2])), f"timeout {name}")
            except ValueError as error:
                notes.problem(line.file, line.number, f"timeout {name}", str(error))
            return
