"""Where nginx's log of requests went, and how its lines looked: ``access_log``."""

from collections.abc import Iterator
from pathlib import Path

from balancer.config.scalars import Facility
from balancer.migrate.nginx.known import DATA
from balancer.migrate.nginx.scalars import host_and_port, is_address, joined
from balancer.migrate.nginx.source import Directive
from balancer.migrate.outcome import Effect, Notes, Surroundings
from balancer.migrate.toml import TomlTable

_PORT = 514
_FACILITIES = Facility.__args__  # type: ignore[attr-defined]


def write_log(top: TomlTable, root: Directive, base: Path, surroundings: Surroundings, notes: Notes) -> None:
    """Write the table ``log``: the first target that requests are logged to."""
    found = [(each, _target(each, base, surroundings)) for each in _every(root) if each.args]
    chosen, target = next(((each, to) for each, to in found if to not in (None, "off")), (None, None))
    for each, to in found:
        if to is None:
            _tell(each, "goes to a target that log.access cannot be", notes)
        elif target is not None and to != target:
            _tell(each, "the access log has one target, for all requests", notes)
    if chosen is None or target is None:
        if any(to == "off" for _, to in found):
            top.table("log").set("access", "off", "access_log off")
        return
    table = top.table("log")
    table.set("access", target, f"access_log ({chosen})")
    table.set("access_format", "combined", "nginx's default")
    if chosen.args[1:2] and "=" not in chosen.args[1] and chosen.args[1] != "combined":
        _tell(chosen, "its format is the usual one here, combined", notes)
    facility = _options(chosen.args[0]).get("facility", "local7") if target.startswith("syslog") else ""
    if facility in _FACILITIES:
        table.set("facility", facility)


def _every(block: Directive) -> Iterator[Directive]:
    for each in block.block or ():
        if each.name == "access_log":
            yield each
        if each.name not in DATA:
            yield from _every(each)


def _target(where: Directive, base: Path, surroundings: Surroundings) -> str | None:
    text = where.args[0]
    if text == "off":
        return "off"
    if text == "/dev/stdout":
        return "stdout"
    if text.startswith("syslog:"):
        return _syslog(_options(text).get("server", ""), surroundings)
    return None if "$" in text or ":" in text else str(base / text)


def _syslog(server: str, surroundings: Surroundings) -> str | None:
    if server.startswith("unix:"):
        return f"syslog:{server.removeprefix('unix:')}"
    try:
        host, port = host_and_port(server, _PORT)
    except ValueError:
        return None
    address = host if is_address(host) else next(iter(surroundings.resolve(host)), "")
    return f"syslog:{joined(address, port)}" if address else None


def _options(text: str) -> dict[str, str]:
    pairs = (option.partition("=") for option in text.removeprefix("syslog:").split(","))
    return {name: value for name, _, value in pairs}


def _tell(where: Directive, message: str, notes: Notes) -> None:
    notes.remark(where.file, where.line, "access_log", message, Effect.NONE)
