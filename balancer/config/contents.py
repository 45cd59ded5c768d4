"""What was in the files that a configuration names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from balancer.config.pem import Pem
from balancer.config.settings import BackendTlsSettings, ClientCertificates, ErrorPage

Certificates = Mapping[str, tuple[Pem, ...]]
"""Certificates of each TLS listener, in their order."""
Clients = Mapping[str, ClientCertificates]
"""What certificates of clients are verified by, for each listener that asks for them."""


@dataclass(frozen=True)
class NamedFiles:
    """The contents of all files, read once."""

    certificates: Certificates = field(default_factory=dict)
    clients: Clients = field(default_factory=dict)
    error_pages: Mapping[str, Mapping[int, ErrorPage]] = field(default_factory=dict)
    """Those of each listener that has any."""
    backend_tls: Mapping[str, BackendTlsSettings] = field(default_factory=dict)
    """TLS settings of each pool that uses TLS to its backends."""
    probe_tls: Mapping[str, BackendTlsSettings] = field(default_factory=dict)
    """TLS settings of each pool whose probes use TLS."""
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    """The secret of the daemon, and the previous one; without any, the digest key is used."""
