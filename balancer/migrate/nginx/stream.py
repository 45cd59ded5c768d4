"""Convert ``stream``: servers that relay bytes, chosen by address or by the server name of a TLS handshake."""

from collections.abc import Sequence

from balancer.migrate.match import Condition, Match
from balancer.migrate.names import own_name
from balancer.migrate.nginx.access import connection_guard
from balancer.migrate.nginx.chain import inherited
from balancer.migrate.nginx.listen import Door
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.target import Goals
from balancer.migrate.nginx.tls import asked_clients, write_tls
from balancer.migrate.steps import Step, write_steps
from balancer.migrate.toml import TomlTable

_BY_NAME = ("$ssl_preread_server_name", "${ssl_preread_server_name}")


def write_listener(top: TomlTable, stream: Sequence[Directive], door: Door, goals: Goals, taken: set[str]) -> None:
    """Append the listener of a server."""
    server = door.servers[0]
    chain = [*stream, server]
    proxy_pass = server.last("proxy_pass")
    if proxy_pass is None:
        goals.notes.remark(
            server.file, server.line, "server", "answers by itself, which the daemon cannot do: not converted"
        )
        return
    named = goals.named(proxy_pass, chain, stream=True)
    if not named:
        return
    guard = connection_guard(chain)
    client = asked_clients(stream, door, goals)
    barred = [*guard.barred, *client.barred]
    for where, what, reason in barred:
        goals.notes.bar(where.file, where.line, what, reason, opened=goals.allow_open)
    if barred and not goals.allow_open:
        return
    listener = top.element("listener", f"stream server ({server})")
    listener.set("name", own_name(f"tcp-{door.addresses[0].rpartition(':')[2]}", taken))
    listener.set("bind", door.addresses)
    listener.set("mode", "tcp")
    listener.set("pool", named[-1][1].name, f"proxy_pass ({proxy_pass})")
    methods = {goal.upstream.method.args[0] for _, goal in named if goal.upstream.method and goal.upstream.method.args}
    if any(method in _BY_NAME for method in methods):
        if len(methods) > 1:
            message = "some upstreams hash the server name and some do not: a listener can do only one of them"
            goals.notes.problem(proxy_pass.file, proxy_pass.line, "proxy_pass", message)
        listener.set("key", "sni", "hash $ssl_preread_server_name")
    if door.proxy_protocol:
        trusted = [each.args[0] for each in inherited(chain, "set_real_ip_from") if each.args]
        if not trusted:
            message = "nginx took PROXY headers from anywhere, here only 127.0.0.1 may send them: list your balancers"
            goals.notes.remark(server.file, server.line, "listen proxy_protocol", message)
        listener.set("proxy_protocol", "accept")
        listener.set("trusted", trusted or ["127.0.0.0/8"])
    if door.tls:
        write_tls(listener.table("tls"), stream, door, client, goals)
    steps = list(guard.steps)
    for pattern, goal in named[:-1] if not named[-1][0] else named:
        steps.append(Step(Match(Condition(sni=(pattern,) if pattern else ())), ("pool", goal.name)))
    if named[-1][0]:
        steps.append(Step(Match(), ("deny", 403), "nginx refused names that are not in its map"))
    write_steps(listener, steps)
