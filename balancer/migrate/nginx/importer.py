"""``balancer import nginx``: convert its configuration so that every user stays on the same host.

A file that nginx would reject is an error, and so is anything whose conversion would place users
elsewhere. Whatever has no counterpart is reported, line by line.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.nginx import http, stream
from balancer.migrate.nginx.access import is_network
from balancer.migrate.nginx.fields import tell_unused
from balancer.migrate.nginx.known import DATA, effect, meaning
from balancer.migrate.nginx.listen import doors
from balancer.migrate.nginx.logging import write_log
from balancer.migrate.nginx.scalars import milliseconds, number, size
from balancer.migrate.nginx.source import Directive, read
from balancer.migrate.nginx.target import Goals, collect
from balancer.migrate.nginx.upstream import upstream
from balancer.migrate.outcome import Effect, Notes, Outcome, Surroundings
from balancer.migrate.shorthands import shorten
from balancer.migrate.toml import TomlTable, duration

_TIMEOUTS = (
    ("head", ("client_header_timeout",)),
    ("connect", ("proxy_connect_timeout",)),
    ("response", ("proxy_read_timeout",)),
    ("idle", ("client_body_timeout",)),
    ("keep_alive", ("keepalive_timeout",)),
    ("tunnel_idle", ("proxy_read_timeout", "proxy_timeout")),
)
"""Our timeouts, and the directives with the same meaning."""
_LONGEST = 365 * 86400_000
_MOST_HEAD = 1 << 20
_USUAL_BODY = 1 << 20
"""nginx's default of ``client_max_body_size``."""


def import_nginx(paths: Sequence[Path], surroundings: Surroundings) -> Outcome:
    """Convert the one file in ``paths``. Raise ``ConfigError`` if it has errors."""
    notes = Notes()
    if len(paths) != 1:
        notes.problem(str(paths[1]), None, "", "nginx has one main file, which includes the others: name only that one")
        notes.check()
    root = read(paths[0], notes)
    _tell(root, notes)
    tell_unused(root, notes)
    notes.check()

    goals = Goals(paths[0].absolute().parent, notes, surroundings.allow_open)
    blocks = {False: root.all("http"), True: root.all("stream")}
    for of_stream, found in blocks.items():
        for block in found:
            for each in block.all("upstream"):
                if (given := upstream(each, of_stream, notes)) is not None:
                    if (of_stream, given.name) in goals.upstreams:
                        notes.problem(each.file, each.line, "upstream", f"{given.name} is defined twice")
                    goals.upstreams[of_stream, given.name] = given
    collect(blocks, goals)
    top = TomlTable("", f"Made from {paths[0]} by `balancer import nginx`. Comments say where a value comes from.")
    _settings(top, root, notes)
    write_log(top, root, goals.base, surroundings, notes)
    taken: set[str] = set()
    for of_stream, write in ((False, http.write_listener), (True, stream.write_listener)):
        for block in blocks[of_stream]:
            found_doors = doors(block.all("server"), surroundings, of_stream, notes)
            # Those that only redirect need the name of a pool.
            for door in sorted(found_doors, key=lambda door: not any(map(_proxies, door.servers))):
                write(top, [root, block], door, goals, taken)
    goals.write(top, surroundings)
    for given in goals.upstreams.values():
        if all(goal.upstream is not given for goal in goals.found.values()):
            notes.remark(given.directive.file, given.directive.line, f"upstream {given.name}", "no proxy_pass uses it")
    if not any(table.header == "[[listener]]" for table in top.tables):
        for remark in notes.barred:
            notes.problem(remark.file, remark.line, remark.what, remark.message)
    if not goals.found:
        notes.problem(str(paths[0]), None, "", "no server has a proxy_pass to a backend: nothing to import")
    elif not any(table.header == "[[listener]]" for table in top.tables):
        notes.problem(str(paths[0]), None, "", "no server sends requests to a backend: nothing to import")
    notes.check()
    shorten(top, notes, str(paths[0]))
    return notes.outcome(f"{top}{_left_out(notes)}", _places(root))


def _tell(block: Directive, notes: Notes) -> None:
    """Report each directive that has no counterpart and that no module reads."""
    for each in block.block or ():
        message = meaning(each.name)
        if message:
            notes.remark(each.file, each.line, each.name, message, effect(message))
        elif each.name in ("allow", "deny") and not is_network((*each.args, "")[0]):
            notes.problem(each.file, each.line, each.name, f"{shown((*each.args, '')[0])} is not a network")
        elif each.name == "if" and each.last("return") is None:
            message = "conditions are not supported: routes match host, path and SNI; move the rest to the backends"
            notes.remark(each.file, each.line, "if", message)
        if each.name not in DATA:
            _tell(each, notes)


def _places(block: Directive) -> Iterator[tuple[str, int]]:
    for each in block.block or ():
        yield each.file, each.line
        yield from _places(each)


def _proxies(block: Directive) -> bool:
    return any(each.name == "proxy_pass" or _proxies(each) for each in block.block or ())


def _every(block: Directive, name: str) -> Iterator[Directive]:
    for each in block.block or ():
        if each.name == name:
            yield each
        if each.name not in DATA and each.name != "upstream":
            yield from _every(each, name)


def _settings(top: TomlTable, root: Directive, notes: Notes) -> None:
    """Write everything above the listeners. The largest of several values counts, so nothing is cut off earlier."""
    processes = root.last("worker_processes")
    if processes is not None and processes.args not in ((), ("auto",)):
        top.set("workers", _value(processes, lambda text: number(text, 1, 256), notes), "worker_processes")
    top.set("state_dir", "/var/lib/balancer", "pins, drains and weights survive restarts here")
    admin = top.table("admin")
    admin.set("socket", "/run/balancer/admin.sock", "for balancer status, top, backend, ring and the other verbs")
    admin.set("listen", "127.0.0.1:9600", "for /metrics, /healthz and /readyz")
    limits = top.table("limits")
    for each in _every(root, "worker_connections"):
        message = (
            "counts connections to clients and backends of one process; limits.max_connections counts clients of all"
        )
        notes.remark(each.file, each.line, "worker_connections", message, Effect.NONE)
    heads = [(each, _value(each, size, notes, 1)) for each in _every(root, "large_client_header_buffers")]
    largest = max((min(value * int(each.args[0]), _MOST_HEAD) for each, value in heads if value), default=None)
    limits.set("max_head_bytes", largest, "large_client_header_buffers")
    bodies = [
        value for each in _every(root, "client_max_body_size") if (value := _value(each, size, notes)) is not None
    ]
    blocks = root.all("http")
    if any(block.last("client_max_body_size") is None for block in blocks):
        bodies.append(_USUAL_BODY)
    if bodies and 0 not in bodies:
        limits.set("max_body_bytes", max(bodies), "client_max_body_size, or its default; the largest of all blocks")
    table = top.table("timeouts", "one value for the whole daemon: the longest of all blocks")
    for ours, theirs in _TIMEOUTS:
        times = [(_value(each, milliseconds, notes), each) for name in theirs for each in _every(root, name)]
        longest = max((value for value, _ in times if value), default=None)
        for value, each in times:
            if value == 0:
                zero = "closed connections after each answer: here they are kept"
                message = zero if ours == "keep_alive" else "0 ends everything at once in nginx: not converted"
                notes.remark(each.file, each.line, each.name, message, Effect.CHANGED)
        if longest is None:
            continue
        longest = min(longest, _LONGEST)
        table.set(ours, duration(longest), next(each.name for value, each in times if value and value >= longest))
        for value, each in times:
            if value and value < longest:
                message = f"the longest value of all blocks is used: {duration(longest)} (timeouts.{ours})"
                notes.remark(each.file, each.line, each.name, message, Effect.CHANGED)


def _value(directive: Directive, parse: Callable[[str], int], notes: Notes, at: int = 0) -> int | None:
    try:
        if len(directive.args) <= at:
            raise ValueError("its value is missing")
        return parse(directive.args[at])
    except ValueError as error:
        notes.problem(directive.file, directive.line, directive.name, str(error))
        return None


def _left_out(notes: Notes) -> str:
    """Return what has no counterpart as a comment for the end of the file."""
    if not notes.remarks:
        return ""
    table = TomlTable("", "Not converted, by line:\n" + "\n".join(map(str, notes.remarks)))
    return f"\n{table}"
