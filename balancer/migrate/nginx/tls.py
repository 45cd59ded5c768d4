"""Certificates and TLS versions of a listener."""

from collections.abc import Sequence

from balancer.migrate.nginx.chain import inherited
from balancer.migrate.nginx.listen import Door
from balancer.migrate.nginx.source import Directive
from balancer.migrate.nginx.target import Goals
from balancer.migrate.toml import TomlTable


def write_tls(tls: TomlTable, http: Sequence[Directive], door: Door, goals: Goals) -> None:
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
