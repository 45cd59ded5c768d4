"""How much servers take at once, and what is tried again (haproxy 2.6, sections 4.2 and 5.2)."""

from collections import Counter
from collections.abc import Sequence

from balancer.config.model import MAX_CONNECTIONS
from balancer.migrate.haproxy.proxy import Proxy
from balancer.migrate.haproxy.scalars import milliseconds, number
from balancer.migrate.haproxy.server import Server
from balancer.migrate.outcome import Notes
from balancer.migrate.toml import Table, duration

_MOST_RETRIES = 1000


def write_limits(pool: Table, proxy: Proxy, servers: Sequence[Server], hashed: bool, notes: Notes) -> int:
    """The limits of the pool and its retries; the limit of most servers, 0 without one."""
    common = Counter(limit(server) for server in servers).most_common(1)[0][0]
    pool.set("max_connections", common or None, "maxconn")
    if any(limit(server) for server in servers):
        _queue(pool, proxy, servers, notes)
    elif line := proxy.last("timeout queue"):
        notes.remark(line.file, line.number, "timeout queue", "where no server has a maxconn nobody ever waits")
    retry = pool.table("retry")
    if (line := proxy.last("retries")) and len(line.words) > 1:
        try:
            retry.set("count", min(number(line.words[1], 0, 2**31 - 1), _MOST_RETRIES), "retries")
        except ValueError as error:
            notes.problem(line.file, line.number, "retries", str(error))
    if hashed and proxy.last("option redispatch") is None:
        message = (
            "without option redispatch a request stays with its server and is answered 503 if that does not accept: "
            "here the next in the user's order is tried after the retries"
        )
        notes.remark(proxy.head.file, proxy.head.number, f"{proxy.kind} {proxy.name}", message)
    return common


def limit(server: Server) -> int:
    """Connections the server takes at once, 0 without a limit."""
    return min(int(server.get("maxconn") or 0), MAX_CONNECTIONS)


def _queue(pool: Table, proxy: Proxy, servers: Sequence[Server], notes: Notes) -> None:
    lengths = [int(server.get("maxqueue") or 0) for server in servers]
    longest = MAX_CONNECTIONS if 0 in lengths else min(max(lengths), MAX_CONNECTIONS)
    pool.set("queue", longest, "maxqueue, the longest of the servers'; without it haproxy knows no bound")
    for name in ("queue", "connect"):
        line = proxy.last(f"timeout {name}")
        if line is not None and len(line.words) > 2:
            try:
                pool.set("queue_timeout", duration(milliseconds(line.words[2])), f"timeout {name}")
            except ValueError as error:
                notes.problem(line.file, line.number, f"timeout {name}", str(error))
            return
