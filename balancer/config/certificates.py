"""The certificates and keys that a configuration names: read them, describe them, find their problems."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from balancer.config.finding import Finding, Key
from balancer.config.listener import CertificateConfig, TlsConfig
from balancer.config.model import Config
from balancer.config.pem import Pem
from balancer.config.scalars import shown

EXPIRY_NOTICE = 14 * 86400.0
"""Seconds before a certificate expires from which on ``check`` warns about it."""
PLACEHOLDER = "c35ef2ebdb3404b37d1d78cf4dfc061be15aa7d74fd1821379e28909f1937cdd"
"""SHA-256 fingerprint of conf/tls/ide.example.crt, whose key is public."""
_MIN_RSA_BITS = 2048


@dataclass(frozen=True)
class CertificateInfo:
    """A certificate's host names and IP addresses in lower case, and its validity as Unix time."""

    names: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: str
    """SHA-256 of the certificate in hex, as ``openssl x509 -fingerprint -sha256`` without colons."""


def read(tls: TlsConfig) -> tuple[Pem, ...]:
    """Read the certificates of a listener, in order. Raises ``ValueError`` for a file that cannot be read."""
    return tuple(_pem(each) for each in tls.certificates)


def describe(path: Path) -> CertificateInfo:
    """Describe the leaf, the first certificate of a PEM file. Raises ``ValueError`` that names file and problem."""
    return _describe(path, _read_chain(path)[0])


def describe_pem(path: Path, data: bytes) -> CertificateInfo:
    """Describe the leaf in ``data``, which was read from ``path``. Raises ``ValueError`` as ``describe`` does."""
    return _describe(path, _parse_chain(path, data)[0])


def findings(config: Config, now: float) -> Iterator[Finding]:
    """Yield what is wrong with the certificates, keys and CA files of a configuration; ``now`` is Unix time."""
    for i, listener in enumerate(config.listener):
        for j, certificate in enumerate(listener.tls.certificates if listener.tls else ()):
            yield from _pair_findings(("listener", i, "tls", "certificates", j), certificate, now)
    for i, pool in enumerate(config.pool):
        for at, tls in ((("pool", i, "health", "tls"), pool.health.tls), (("pool", i, "tls"), pool.tls)):
            if tls.ca_file is not None:
                yield from _authority_findings((*at, "ca_file"), tls.ca_file)
        if pool.tls.cert is not None and pool.tls.key is not None:
            own = CertificateConfig(cert=pool.tls.cert, key=pool.tls.key)
            yield from _pair_findings(("pool", i, "tls"), own, now, served=False)


def _pem(certificate: CertificateConfig) -> Pem:
    cert = _read(certificate.cert)
    return Pem(cert, _read(certificate.key), describe_pem(certificate.cert, cert).names)


def _authority_findings(at: Key, path: Path) -> Iterator[Finding]:
    try:
        _read_chain(path)
    except ValueError as error:
        yield Finding(at, str(error))


def _pair_findings(at: Key, certificate: CertificateConfig, now: float, *, served: bool = True) -> Iterator[Finding]:
    """A pair ``served`` to clients must name hosts; one that is presented to backends need not."""
    cert, key = (*at, "cert"), (*at, "key")
    chain: list[x509.Certificate] = []
    try:
        chain = _read_chain(certificate.cert)
        info = _describe(certificate.cert, chain[0])
    except ValueError as error:
        yield Finding(cert, str(error))
    else:
        yield from _validity_findings(cert, certificate.cert, info, now)
        if served and not info.names:
            name = _name(certificate.cert)
            yield Finding(cert, f"{name} names no host: it has no subjectAltName, which clients require (RFC 9525)")
        if info.fingerprint == PLACEHOLDER:
            message = "this is the placeholder of the source tree, whose key is public: use a certificate of your own"
            yield Finding(key, message, warning=True)
    yield from _key_findings(key, certificate, chain)


def _validity_findings(at: Key, path: Path, info: CertificateInfo, now: float) -> Iterator[Finding]:
    # Warnings only: an expired certificate must not keep the daemon from starting, or a file from being applied.
    if now > info.not_after:
        yield Finding(at, f"{_name(path)} expired on {_date(info.not_after)}; renew it", warning=True)
    elif info.not_after - now < EXPIRY_NOTICE:
        days = int((info.not_after - now) / 86400)
        yield Finding(at, f"{_name(path)} expires in {days} days, on {_date(info.not_after)}", warning=True)
    if now < info.not_before:
        message = f"{_name(path)} is not valid before {_date(info.not_before)}; is the clock right?"
        yield Finding(at, message, warning=True)


def _key_findings(at: Key, certificate: CertificateConfig, chain: list[x509.Certificate]) -> Iterator[Finding]:
    key_name, cert_name = _name(certificate.key), _name(certificate.cert)
    try:
        key = _read_key(certificate.key)
        public = _public(key.public_key())
        owned = [_public(member.public_key()) == public for member in chain]
    except ValueError as error:
        yield Finding(at, str(error))
        return
    if chain and not any(owned):
        yield Finding(at, f"{key_name} is not the key of {cert_name}")
    elif chain and not owned[0]:
        number = owned.index(True) + 1
        yield Finding(at, f"{key_name} is the key of certificate {number} in {cert_name}: put that one first")
    if isinstance(key, RSAPrivateKey) and key.key_size < _MIN_RSA_BITS:
        yield Finding(at, f"{key_name} has {key.key_size} bits; OpenSSL refuses RSA keys below {_MIN_RSA_BITS}")


def _describe(path: Path, leaf: x509.Certificate) -> CertificateInfo:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(f"{_name(path)} has malformed extensions: {error}") from None
    hosts = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    return CertificateInfo(
        names=tuple(str(name).lower() for name in [*hosts, *addresses]),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        fingerprint=leaf.fingerprint(SHA256()).hex(),
    )


def _read_chain(path: Path) -> list[x509.Certificate]:
    return _parse_chain(path, _read(path))


def _parse_chain(path: Path, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ValueError(
            f'{_name(path)} has no PEM certificate, a block that starts with "-----BEGIN CERTIFICATE-----"'
        ) from None


def _read_key(path: Path) -> PrivateKeyTypes:
    data = _read(path)
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        raise ValueError(
            f"{_name(path)} is encrypted, and the daemon cannot ask for its passphrase; "
            "decrypt it with `openssl pkey` and protect it by file permissions"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f'{_name(path)} has no PEM private key, a block that starts with "-----BEGIN PRIVATE KEY-----"'
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{_name(path)} cannot be read: {error.strerror}") from None


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(path: Path) -> str:
    return shown(str(path), limit=4096)


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
