"""Read what certificates of clients are verified by: authorities, and lists of revoked certificates (RFC 5280, 5)."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from balancer.config.certificates import chain_pem, file_name, parse_chain, read_file
from balancer.config.finding import Finding, Key
from balancer.config.listener import TlsConfig
from balancer.config.scalars import shown
from balancer.config.settings import ClientCertificates

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def read_client_certificates(at: Key, tls: TlsConfig, now: float, findings: list[Finding]) -> ClientCertificates | None:
    """Return what the files of ``tls`` say, None if they cannot be used; add their problems to ``findings``."""
    if tls.client is None or tls.client_ca is None:
        return None
    authorities, crls = [], []
    try:
        authorities = parse_chain(tls.client_ca, read_file(tls.client_ca))
    except ValueError as error:
        findings.append(Finding((*at, "client_ca"), str(error)))
    if tls.client_crl is not None:
        try:
            crls = _parse(tls.client_crl)
        except ValueError as error:
            findings.append(Finding((*at, "client_crl"), str(error)))
        else:
            told = _told(tls.client_crl, authorities, crls, now)
            findings += [Finding((*at, "client_crl"), message, warning=True) for message in told]
    if not authorities or (tls.client_crl is not None and not crls):
        return None
    revoked = b"".join(crl.public_bytes(Encoding.PEM) for crl in crls)
    return ClientCertificates(tls.client == "required", chain_pem(authorities), revoked or None)


def _parse(path: Path) -> list[x509.CertificateRevocationList]:
    blocks = _CRL.findall(read_file(path))
    if not blocks:
        raise ValueError(f'{file_name(path)} has no CRL, a PEM block that starts with "-----BEGIN X509 CRL-----"')
    try:
        return [x509.load_pem_x509_crl(block) for block in blocks]
    except ValueError as error:
        raise ValueError(f"{file_name(path)} has a malformed CRL: {str(error).rstrip('.')}") from None


def _told(
    path: Path, authorities: list[x509.Certificate], crls: list[x509.CertificateRevocationList], now: float
) -> Iterator[str]:
    for crl in crls:
        due = crl.next_update_utc
        if due is not None and due.timestamp() < now:
            day = datetime.fromtimestamp(due.timestamp(), UTC).strftime("%Y-%m-%d %H:%M UTC")
            yield f"{file_name(path)} was due for renewal on {day}: clients are refused until it is renewed"
    issuers = {crl.issuer for crl in crls}
    for authority in authorities:
        if authority.subject not in issuers:
            name = shown(authority.subject.rfc4514_string())
            yield f"{file_name(path)} has no CRL of {name}: clients with a certificate of it are refused"
