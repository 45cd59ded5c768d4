"""Certificates and TLS versions of a listener."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from balancer.migrate.nginx.chain import inherited
from balancer.migrate.nginx.listen import Door
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.target import Goals
from balancer.migrate.outcome import Effect
from balancer.migrate.toml import TomlTable

_KINDS = {"on": "required", "optional": "optional"}


@dataclass(frozen=True)
class AskedClients:
    """What the clients of a door are asked for: a certificate by one of the authorities."""

    kind: str = ""
    """``required``, ``optional``, or empty if they are not asked."""
    authorities: Path | None = None
    crl: Path | None = None
    barred: list[tuple[Directive, str, str]] = field(default_factory=list, compare=False)
    """Why the door cannot be opened: directive, its name, reason."""


def asked_clients(http: Sequence[Directive], door: Door, goals: Goals) -> AskedClients:
    """Return what all servers of a door ask their clients for."""
    if not door.tls:
        return AskedClients()
    every = [_asked([*http, server], goals) for server in door.servers]
    if all(each == every[0] for each in every):
        return every[0]
    where = next(found for server in door.servers if (found := inherited([*http, server], "ssl_verify_client")))
    return AskedClients(barred=[(where[-1], "ssl_verify_client", "the servers of one address ask for different ones")])


def _asked(chain: Sequence[Directive], goals: Goals) -> AskedClients:
    """Return what a server asks its clients for."""
    verify = inherited(chain, "ssl_verify_client")
    if not verify or verify[-1].args in ((), ("off",)):
        return AskedClients()
    where, kind = verify[-1], _KINDS.get(verify[-1].args[0], "")
    sent, trusted, revoked = (
        [goals.base / each.args[0] for each in inherited(chain, name)[-1:] if each.args]
        for name in ("ssl_client_certificate", "ssl_trusted_certificate", "ssl_crl")
    )
    files = list(dict.fromkeys(sent + trusted))
    if (ocsp := inherited(chain, "ssl_ocsp")) and ocsp[-1].args != ("off",):
        return AskedClients(barred=[(ocsp[-1], "ssl_ocsp", "revoked certificates are known by lists only")])
    if kind and len(files) == 1:
        message = "answered 400 to clients without a valid certificate: here the handshake fails"
        goals.notes.remark(where.file, where.line, "ssl_verify_client", message, Effect.CHANGED)
        return AskedClients(kind, files[0], revoked[0] if revoked else None)
    if kind == "required":
        reason = "the authorities are not in one file"
        return AskedClients(barred=[(where, "ssl_verify_client", reason)])
    message = (
        "clients are not asked for certificates, as theirs would not be verified: backends do not learn who has one"
    )
    goals.notes.remark(where.file, where.line, "ssl_verify_client", message)
    return AskedClients()


def write_tls(tls: TomlTable, http: Sequence[Directive], door: Door, client: AskedClients, goals: Goals) -> None:
    """Append the certificates and TLS versions of all servers of a door."""
    pairs: dict[tuple[str, str], None] = {}
    versions: set[str] = set()
    for server in door.servers:
        chain = [*http, server]
        certs, keys = inherited(chain, "ssl_certificate"), inherited(chain, "ssl_certificate_key")
        if len(certs) != len(keys):
            goals.notes.problem(server.file, server.line, "server", "each ssl_certificate needs an ssl_certificate_key")
        for cert, key in zip(certs, keys, strict=False):
            if any(not each.args or "$" in each.args[0] or ":" in each.args[0] for each in (cert, key)):
                message = "the certificate is computed or not in a file: add its file to listener.tls.certificates"
                goals.notes.remark(cert.file, cert.line, "ssl_certificate", message)
                continue
            pairs[str(goals.base / cert.args[0]), str(goals.base / key.args[0])] = None
        protocols = inherited(chain, "ssl_protocols")
        given = protocols[-1].args if protocols else ("TLSv1.2",)
        versions |= set(given)
        if protocols and {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"} & set(given):
            goals.notes.remark(
                protocols[-1].file, protocols[-1].line, "ssl_protocols", "TLS before 1.2 is not supported"
            )
    if not pairs:
        server = door.servers[0]
        goals.notes.problem(server.file, server.line, "server", "listens with ssl, but has no ssl_certificate")
    tls.set("min_version", "1.3" if versions == {"TLSv1.3"} else None)
    tls.set(
        "certificates",
        [{"cert": cert, "key": key} for cert, key in pairs],
        "the first one belongs to the default server",
    )
    if client.kind:
        tls.set("client", client.kind, "ssl_verify_client")
        tls.set("client_ca", str(client.authorities), "ssl_client_certificate")
        tls.set("client_crl", str(client.crl) if client.crl else None, "ssl_crl")
