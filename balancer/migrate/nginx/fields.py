"""Header fields: ``proxy_set_header``, ``add_header`` and ``proxy_hide_header`` of a location, as those of its pool.

A location inherits them from the block around it only if it has none of that name itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from balancer.migrate.field_changes import FieldChanges, literal
from balancer.migrate.match import NoCounterpart
from balancer.migrate.nginx.chain import Chain, inherited, takes_address_from_field
from balancer.migrate.nginx.known import DATA
from balancer.migrate.nginx.source import Directive
from balancer.migrate.outcome import Effect, Notes

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_FACTS = {
    "remote_addr": "{client_address}",
    "remote_port": "{client_port}",
    "server_port": "{port}",
    "scheme": "{scheme}",
    "http_host": "{host}",
    "host": "{host}",
    "request_id": "{request_id}",
    "ssl_protocol": "{tls_version}",
    "ssl_server_name": "{sni}",
    "ssl_client_s_dn": "{client_subject}",
    "proxy_add_x_forwarded_for": "{forwarded_for}",
}
_OF_CLIENT = ("remote_addr", "remote_port", "proxy_add_x_forwarded_for")
_HOSTS = ("$host", "$http_host", "${host}", "$host:$server_port", "$host:$proxy_port")
_FROM_HERE = ("connection", "upgrade")
"""Fields that the daemon writes by itself, for connections that are upgraded too."""


@dataclass
class Changes:
    """What a location does to requests and to responses."""

    request: FieldChanges = field(default_factory=FieldChanges)
    response: FieldChanges = field(default_factory=FieldChanges)


def field_changes(chain: Chain, proxy_pass: Directive, notes: Notes) -> Changes:
    """Return what the innermost block of ``chain`` does to header fields; report what no table can express."""
    found = Changes()
    given = inherited(chain, "proxy_set_header")
    if not any(each.args and each.args[0].lower() == "host" for each in given):
        message = "nginx sent the name in proxy_pass as Host; here backends get the client's Host"
        notes.remark(proxy_pass.file, proxy_pass.line, "proxy_pass", message)
    for each in given:
        name, value = (*each.args, "", "")[:2]
        if name.lower() not in _FROM_HERE and (name.lower() != "host" or value not in _HOSTS):
            _convert(found.request, each, name, value, chain, notes)
    for each in inherited(chain, "proxy_hide_header"):
        _convert(found.response, each, (*each.args, "")[0], "", chain, notes)
    for each in inherited(chain, "add_header"):
        name, value, *options = (*each.args, "", "")[: max(2, len(each.args))]
        if not value:
            continue
        _convert(found.response, each, name, value, chain, notes)
        if "always" not in options:
            message = "in all answers, also in those with errors, as with always"
            notes.remark(each.file, each.line, f"add_header {name}", message, Effect.CHANGED)
    return found


def tell_unused(block: Directive, notes: Notes) -> None:
    """Report fields of answers that no backend gives."""
    for name in ("add_header", "proxy_hide_header"):
        if not _reaches_proxy(block, name):
            for each in block.all(name):
                message = "not converted: it is for answers of nginx itself, and here for those of pools"
                notes.remark(each.file, each.line, f"{name} {(*each.args, '')[0]}", message)
    for each in _blocks(block):
        tell_unused(each, notes)


def _reaches_proxy(block: Directive, name: str) -> bool:
    """Return whether a location inherits the directives of this name that are directly in the block."""
    inner = (each for each in _blocks(block) if not each.all(name))
    return block.last("proxy_pass") is not None or any(_reaches_proxy(each, name) for each in inner)


def _blocks(block: Directive) -> Iterator[Directive]:
    return (each for each in block.block or () if each.block is not None and each.name not in DATA)


def _convert(into: FieldChanges, each: Directive, name: str, value: str, chain: Chain, notes: Notes) -> None:
    what = f"{each.name} {name}"
    try:
        if not value:
            into.remove(name)
        elif each.name == "add_header":
            into.add(name, "".join(_parts(value, what, each, chain, notes)))
        else:
            into.set(name, "".join(_parts(value, what, each, chain, notes)))
    except NoCounterpart as error:
        notes.remark(each.file, each.line, what, f"not converted: {error}")


def _parts(text: str, what: str, where: Directive, chain: Chain, notes: Notes) -> Iterator[str]:
    start = 0
    for match in _VARIABLE.finditer(text):
        yield literal(text[start : match.start()])
        start = match.end()
        name = match[1] or match[2]
        if name in _OF_CLIENT and takes_address_from_field(chain):
            raise NoCounterpart("the client's address is that of the connection or the PROXY header")
        if name == "host":
            if text[start : start + 1] == ":":
                raise NoCounterpart("{host} has the port already if the client sent one")
            message = "has Host as the client sent it, with its port if there is one"
            notes.remark(where.file, where.line, what, message, Effect.CHANGED)
        if name in _FACTS:
            yield _FACTS[name]
        elif name.startswith("http_"):
            yield f"{{header:{name[5:].replace('_', '-')}}}"
        else:
            raise NoCounterpart("its value is computed")
    if "$" in text[start:]:
        raise NoCounterpart("its value is computed")
    yield literal(text[start:])
