"""The certificates that a pool's TLS settings name, read from their files."""

from balancer.config.pem import Pem
from balancer.config.pool import BackendTlsConfig, HealthTlsConfig
from balancer.config.settings import BackendTlsSettings


def read_backend_tls(tls: BackendTlsConfig | HealthTlsConfig, *, enabled: bool) -> BackendTlsSettings:
    """Return ``tls`` with the contents of its files. Raise ``OSError`` for a file that cannot be read."""
    authorities = tls.ca_file.read_bytes() if tls.verify and tls.ca_file is not None else None
    certificate = None
    if isinstance(tls, BackendTlsConfig) and tls.cert is not None and tls.key is not None:
        certificate = Pem(tls.cert.read_bytes(), tls.key.read_bytes(), ())
    return BackendTlsSettings(enabled, tls.verify, authorities, tls.server_name, certificate)
