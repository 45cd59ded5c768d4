"""The tables of a listener: addresses, TLS, rules and routes."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints

from balancer.config.fields import BackendAddress, File, HostPattern, Network, UrlPath, as_array
from balancer.config.head_fields import FieldsConfig
from balancer.config.scalars import shown
from balancer.config.section import Array, Count, HttpToken, Name, Param, Section, ServerName

ErrorStatus = Annotated[str, StringConstraints(pattern=r"^[45][0-9]{2}$")]
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,256}")


def _header_value(value: object) -> object:
    if value is True or (isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
        return value
    raise ValueError(f"expected up to 256 printable ASCII characters, or true for any value, not {shown(value)}")


class CertificateConfig(Section):
    """A certificate chain (PEM, leaf first) and its private key (PEM, no passphrase)."""

    cert: File
    key: File


class TlsConfig(Section):
    """TLS termination of a listener."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    certificates: Annotated[tuple[CertificateConfig, ...], Field(strict=False, min_length=1)]
    """The first is the default; SNI selects among all of them, exact names before wildcards."""
    client: Literal["required", "optional"] | None = None
    """Ask clients for a certificate, and refuse those without one or let them in; invalid ones are always refused."""
    client_ca: File | None = None
    """Certificates (PEM) of the authorities that issue those of clients."""
    client_crl: File | None = None
    """Revoked certificates: a list (PEM) of each authority."""


class RouteConfig(Section):
    """Sends matching requests, or in ``tcp`` mode connections, to another pool than the listener's.

    A route matches if each of ``host``, ``sni`` and path that is set has a matching value.
    """

    host: Array[HostPattern] = ()
    """Hosts of the request, without port, case-insensitive; a leading ``*.`` matches one or more labels."""
    path: Array[UrlPath] = ()
    """Whole paths without the query, compared byte for byte with the request's."""
    path_prefix: Array[UrlPath] = ()
    """Path prefixes, compared byte for byte like haproxy's ``path_beg``: ``/api`` matches ``/apis`` too."""
    sni: Array[HostPattern] = ()
    """Server names of the TLS handshake; same patterns as ``host``."""
    pool: Name


class ConditionConfig(Section):
    """Which requests are meant: those that match a value of each key that is set."""

    host: Array[HostPattern] = ()
    """Hosts of the request, as in ``listener.route``."""
    path: Array[UrlPath] = ()
    """Whole paths without the query."""
    path_prefix: Array[UrlPath] = ()
    """Beginnings of paths."""
    sni: Array[HostPattern] = ()
    """Server names of the TLS handshake; in ``tcp`` mode the only key beside ``client``."""
    method: Array[HttpToken] = ()
    """Methods, case-sensitive (RFC 9110, 9.1)."""
    query: Array[Param] = ()
    """Query parameters that are present, with their ``=``: only such a one can hold a token."""
    header: dict[HttpToken, Annotated[str | Literal[True], PlainValidator(_header_value)]] = Field(default_factory=dict)
    """Header fields, each with the value it must have, or ``true`` if it only must be present."""
    client: Array[Network] = ()
    """Networks of the client's address, after a PROXY header."""
    tls: bool | None = None
    """In ``tcp`` mode without a ``tls`` table: whether the client speaks TLS."""
    certificate: bool | None = None
    """With ``tls.client``: whether the client has shown a certificate."""


class RedirectConfig(Section):
    """Where a redirected client goes: ``location`` as it stands, or the same URL with parts replaced."""

    location: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,2048}$")] | None = None
    scheme: Literal["http", "https"] | None = None
    host: ServerName | None = None
    """Host, with or without a port; without it, the request's."""
    prefix: UrlPath | None = None
    """What is put before the path, the query included."""
    code: Literal[301, 302, 303, 307, 308] = 302


class AnswerConfig(Section):
    """A response of the balancer's own."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    type: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,128}$")] = "text/plain; charset=utf-8"
    text: Annotated[str, StringConstraints(max_length=65536)] = ""


class RuleConfig(ConditionConfig):
    """What happens to requests that match: exactly one of ``deny``, ``redirect``, ``answer`` and ``pool``."""

    unless: Annotated[tuple[ConditionConfig, ...], Field(strict=False, alias="not"), BeforeValidator(as_array)] = ()
    """Requests that do not match although the keys above do."""
    deny: Annotated[int, Field(ge=400, le=599)] | None = None
    """Refuse with this status; in ``tcp`` mode the connection is closed."""
    redirect: RedirectConfig | None = None
    answer: AnswerConfig | None = None
    pool: Name | None = None
    """Send them to this pool."""


class AcmeConfig(Section):
    """Where the challenges of an ACME client (``/.well-known/acme-challenge/``) are answered: one of the two."""

    pool: Name | None = None
    """The pool of the client that answers by itself."""
    folder: File | None = None
    """The folder that the client writes its challenges to."""


class ListenerConfig(Section):
    """Addresses that clients connect to, and the pool behind them."""

    name: Name
    bind: Annotated[tuple[BackendAddress, ...], Field(strict=False, min_length=1)]
    mode: Literal["http", "tcp"] = "http"
    pool: Name | None = None
    redirect: Annotated[str, StringConstraints(pattern=r"^https(://[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?)?$")] | None = (
        None
    )
    """In the place of a pool: ``https`` or ``https://host[:port]``, a host that a certificate covers."""
    acme_challenge: AcmeConfig | None = None
    """Answers ACME challenges, after the rules and before the routes."""
    key: Literal["client_ip", "sni"] = "client_ip"
    """What is hashed in ``tcp`` mode. ``sni`` without ``tls`` reads the ClientHello and forwards it."""
    proxy_protocol: Literal["off", "accept"] = "off"
    max_connections: Count = 0
    """Client connections of this listener; further ones wait to be accepted."""
    trusted: Array[Network] = ()
    """Networks whose PROXY header, ``X-Forwarded-*`` and ``X-Request-ID`` are trusted."""
    forwarded: Literal["set", "append", "keep"] = "append"
    """What hosts get as ``X-Forwarded-*``: ours alone, those of trusted peers extended, or anybody's untouched."""
    request_fields: FieldsConfig = FieldsConfig()
    """What is changed in requests on their way to a host, before what ``pool.request_fields`` says."""
    response_fields: FieldsConfig = FieldsConfig()
    """What is changed in final responses, our own included, after what ``pool.response_fields`` says."""
    error_pages: dict[ErrorStatus, File] = Field(default_factory=dict)
    """Files for errors of the daemon's own, by status: the body of a response, or a whole one."""
    tls: TlsConfig | None = None
    rule: Array[RuleConfig] = ()
    """The first that matches decides; without a match requests go on to the routes."""
    route: Array[RouteConfig] = ()
    """The first that matches selects the pool; without a match it is ``pool``."""
