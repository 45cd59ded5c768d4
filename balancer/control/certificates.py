"""Read certificates and secrets once, in control, so that all workers use the same, also a worker that starts later."""

import time
from collections.abc import Mapping

from balancer.config import key_file
from balancer.config.certificates import describe_pem, read
from balancer.config.listener import CertificateConfig
from balancer.config.model import Config
from balancer.config.pem import Pem
from balancer.config.settings import BackendTlsSettings, TlsSettings
from balancer.errors import Refused
from balancer.net.contexts import ServerContexts, client_context
from balancer.probes.tls_files import read_backend_tls

Certificates = Mapping[str, tuple[Pem, ...]]
"""Certificates of each TLS listener, in their order."""


def read_certificates(config: Config) -> dict[str, tuple[Pem, ...]]:
    """Return the certificates of all listeners. Raise ``Refused`` for files that cannot be served."""
    found = {}
    for listener in config.listener:
        if listener.tls is not None:
            try:
                found[listener.name] = read(listener.tls)
                ServerContexts(TlsSettings(found[listener.name], listener.tls.min_version))
            except (ValueError, OSError) as error:
                raise Refused(f'listener "{listener.name}": {error}') from None
    return found


def read_secrets(config: Config) -> tuple[bytes, ...]:
    """Return what is in ``key_file``, nothing if there is none. Raise ``Refused`` for a file that cannot be used."""
    if config.key_file is None:
        return ()
    try:
        return key_file.read_secrets(config.key_file)
    except ValueError as error:
        raise Refused(f"key_file: {error}") from None


def read_backend_certificates(config: Config) -> dict[str, BackendTlsSettings]:
    """Return the TLS settings of pools that use TLS. Raise ``Refused`` for files that cannot be used."""
    found = {}
    for pool in config.pool:
        if pool.tls.enabled:
            try:
                found[pool.name] = read_backend_tls(pool.tls, enabled=True)
                client_context(found[pool.name])
            except OSError as error:
                raise Refused(f'pool "{pool.name}", tls: {error}') from None
    return found


def refuse_outdated(config: Config, old: Certificates, new: Certificates) -> None:
    """Raise ``Refused`` if an expired certificate would replace a valid one."""
    now = time.time()

    def in_date(certificate: CertificateConfig, pem: Pem) -> bool:
        about = describe_pem(certificate.cert, pem.cert)
        return about.not_before <= now <= about.not_after

    for listener in config.listener:
        named = listener.tls.certificates if listener.tls else ()
        pairs = zip(named, old.get(listener.name, ()), new.get(listener.name, ()), strict=True)
        for certificate, before, after in pairs:
            if in_date(certificate, before) and not in_date(certificate, after):
                raise Refused(f'listener "{listener.name}": {certificate.cert} is out of date')
