"""Change the header fields of heads that are ready to be sent, as a listener or a pool says.

Facts. One regular expression cuts out the fields that are removed or set, in any case and with underscores in place of
hyphens: servers that turn fields into CGI variables cannot tell ``X_Real_IP`` from ``X-Real-IP``, so a client could
otherwise send what is set here. Lines without facts are joined beforehand. No fact can end a line: fields and hosts
have passed the grammar, the server name is checked (``visible``), and the rest are numbers and addresses.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from balancer.config.field_text import FACT
from balancer.config.settings import FieldSettings
from balancer.http.forward import chain_of
from balancer.http.grammar import REQUEST_SPECIAL
from balancer.http.head import Request

_VISIBLE = re.compile(r"[!-~]*")


class Facts(NamedTuple):
    """What values may tell about a connection."""

    client_address: bytes
    client_port: bytes
    port: bytes
    """Of ours, or what a PROXY header says."""
    scheme: bytes
    tls_version: bytes
    sni: bytes
    believed: bool
    """Its forwarding fields are passed on."""
    peer_address: bytes = b""
    """Of the socket's far end, which a PROXY header may have made another than the client's."""
    client_subject: bytes = b""
    """Of the client's certificate, on one line of visible ASCII; empty without one."""
    client_cn: bytes = b""
    """The common name in it."""


_Part = bytes | Callable[[Facts, Request, bytes], bytes]


class Fields:
    """What is done to the fields of a message."""

    __slots__ = ("_computed", "_cut", "_literal")

    def __init__(self, settings: FieldSettings) -> None:
        names = [*settings.remove, *settings.set]
        self._cut = re.compile(rb"\n(?i:%b):[^\r]*+\r" % b"|".join(map(_spellings, names))) if names else None
        lines = [*settings.set.items(), *((name, value) for name, values in settings.add.items() for value in values)]
        self._literal = b"".join(f"{name}: {value}\r\n".encode() for name, value in lines if not FACT.search(value))
        self._computed = [(name.encode(), tuple(_parts(value))) for name, value in lines if FACT.search(value)]

    def apply(self, head: bytes, facts: Facts, request: Request, request_id: bytes) -> bytes:
        """Return a whole head with its fields changed. A field whose value comes out empty is left out."""
        if self._cut is not None:
            head = self._cut.sub(b"", head)
        lines = self._literal
        for name, parts in self._computed:
            value = b"".join([part if isinstance(part, bytes) else part(facts, request, request_id) for part in parts])
            if value:
                lines += name + b": " + value + b"\r\n"
        return head[:-2] + lines + b"\r\n"


def fields_of(settings: FieldSettings) -> Fields | None:
    """Return what is done to fields; None if that is nothing."""
    return Fields(settings) if settings != FieldSettings() else None


def visible(text: str) -> bytes:
    """Return a name as bytes; nothing if it has other than visible ASCII characters, such as line ends."""
    return text.encode() if _VISIBLE.fullmatch(text) else b""


def _spellings(name: str) -> bytes:
    return b"[-_]".join(re.escape(part.encode()) for part in re.split("[-_]", name))


def _parts(value: str) -> Iterable[_Part]:
    start = 0
    for fact in FACT.finditer(value):
        yield value[start : fact.start()].encode()
        yield _header(fact[2].lower().encode()) if fact[1] == "header" else _FACTS[fact[1]]
        start = fact.end()
    yield value[start:].encode()


def _header(name: bytes) -> _Part:
    claim = name != b"host" and REQUEST_SPECIAL.match(b"\n" + name + b":\r") is not None

    def values(facts: Facts, request: Request, _: bytes) -> bytes:
        return b", ".join(request.field(name)) if facts.believed or not claim else b""

    return values


def _forwarded_for(facts: Facts, request: Request, _: bytes) -> bytes:
    before = request.forwarded_for if facts.believed else None
    return chain_of(before, facts.client_address, facts.peer_address)


_FACTS: dict[str, _Part] = {
    "client_address": lambda facts, request, request_id: facts.client_address,
    "client_port": lambda facts, request, request_id: facts.client_port,
    "port": lambda facts, request, request_id: facts.port,
    "scheme": lambda facts, request, request_id: facts.scheme,
    "host": lambda facts, request, request_id: request.host,
    "request_id": lambda facts, request, request_id: request_id,
    "tls_version": lambda facts, request, request_id: facts.tls_version,
    "sni": lambda facts, request, request_id: facts.sni,
    "client_subject": lambda facts, request, request_id: facts.client_subject,
    "client_cn": lambda facts, request, request_id: facts.client_cn,
    "forwarded_for": _forwarded_for,
}
