"""Certificates as the daemon serves them: what OpenSSL refuses, found before anything depends on it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from ssl import SSLError

from balancer.config import load
from balancer.config.certificates import describe_pem, file_name
from balancer.config.contents import Certificates, Clients, NamedFiles
from balancer.config.finding import Finding, Key
from balancer.config.load import Report
from balancer.config.model import Config
from balancer.config.named_files import FileReader
from balancer.config.pem import Pem
from balancer.config.plain import tls_settings
from balancer.config.settings import BackendTlsSettings
from balancer.errors import Refused
from balancer.net.contexts import ServerContexts, client_context


def check(path: Path, now: float) -> Report:
    """Report on a configuration file as ``config.load.check`` does, and on what OpenSSL refuses of its certificates."""
    report = load.check(path, now)
    if report.config is None or report.files is None or report.source is None:
        return report
    refused = [
        *_unserved(report.config, report.files.certificates, report.files.clients),
        *_unusable(report.config, report.files),
    ]
    if not refused:
        return report
    problems = [report.source.problem(each) for each in refused]
    return replace(report, config=None, files=None, problems=problems)


def read_certificates(config: Config) -> tuple[Certificates, Clients]:
    """Return the certificates of all listeners, and what those of clients are verified by.

    Raise ``Refused`` for files that cannot be served.
    """
    reader = FileReader(config, time.time())
    found, clients = reader.certificates(), reader.clients()
    invalid = [each for each in reader.findings if not each.warning] or [*_unserved(config, found, clients)]
    if invalid:
        raise Refused("; ".join(each.message for each in invalid))
    return found, clients


def refuse_outdated(config: Config, old: Certificates, new: Certificates) -> None:
    """Raise ``Refused`` if an expired certificate would replace a valid one."""
    now = time.time()

    def in_date(path: Path, pem: Pem) -> bool:
        about = describe_pem(path, pem.cert)
        return about.not_before <= now <= about.not_after

    for listener in config.listener:
        named = listener.tls.certificates if listener.tls else ()
        pairs = zip(named, old.get(listener.name, ()), new.get(listener.name, ()), strict=True)
        for certificate, before, after in pairs:
            if in_date(certificate.cert, before) and not in_date(certificate.cert, after):
                raise Refused(f'listener "{listener.name}": {certificate.cert} is out of date')


def _unserved(config: Config, certificates: Certificates, clients: Clients) -> Iterator[Finding]:
    for i, listener in enumerate(config.listener):
        if listener.tls is None:
            continue
        at: Key = ("listener", i, "tls", "certificates")
        refused, client = False, clients.get(listener.name)
        for j, (pair, pem) in enumerate(zip(listener.tls.certificates, certificates[listener.name], strict=True)):
            try:
                ServerContexts(tls_settings(listener.tls, (pem,), None))
            except OSError as error:
                refused = True
                yield Finding((*at, j), f"OpenSSL refuses {file_name(pair.cert)}: {_reason(error)}")
        try:
            if not refused and (len(certificates[listener.name]) > 1 or client is not None):
                ServerContexts(tls_settings(listener.tls, certificates[listener.name], client))
        except OSError as error:
            yield Finding(at, f"OpenSSL refuses these certificates together: {_reason(error)}")


def _unusable(config: Config, files: NamedFiles) -> Iterator[Finding]:
    for i, pool in enumerate(config.pool):
        traffic, probes = files.backend_tls.get(pool.name), files.probe_tls.get(pool.name)
        found: dict[Key, BackendTlsSettings | None] = {("pool", i, "tls"): traffic}
        if probes != traffic:
            found["pool", i, "health", "tls"] = probes
        for at, tls in found.items():
            try:
                if tls is not None:
                    client_context(tls)
            except OSError as error:
                yield Finding(at, f"OpenSSL refuses its certificates: {_reason(error)}")


def _reason(error: OSError) -> str:
    if isinstance(error, SSLError):
        return (error.reason or "unknown reason").lower().replace("_", " ")
    return error.strerror or str(error)
