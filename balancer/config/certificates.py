"""Parse certificates and keys, and say in plain words why one cannot be used."""

import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from balancer.config.scalars import shown

_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class CertificateInfo:
    """A certificate's host names and IP addresses in lower case, and its validity as Unix time."""

    names: tuple[str, ...]
    """Those of subjectAltName or, without any, the common name."""
    alternative: bool
    """Whether ``names`` are from subjectAltName."""
    not_before: float
    not_after: float
    fingerprint: str
    """SHA-256 of the certificate in hex, as ``openssl x509 -fingerprint -sha256`` without colons."""


def describe(path: Path, leaf: x509.Certificate) -> CertificateInfo:
    """Describe a certificate that was read from ``path``. Raises ``ValueError`` that names file and problem."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        names = []
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(f"{file_name(path)} has malformed extensions: {error}") from None
    common = [str(each.value) for each in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return CertificateInfo(
        names=tuple(name.lower() for name in names or common),
        alternative=bool(names),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        fingerprint=leaf.fingerprint(SHA256()).hex(),
    )


def describe_pem(path: Path, data: bytes) -> CertificateInfo:
    """Describe the leaf, the first certificate of ``data``, which was read from ``path``. Raises ``ValueError``."""
    return describe(path, parse_chain(path, data)[0])


def parse_chain(path: Path, data: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM file. Raises ``ValueError`` that names file and problem."""
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        if b"-----BEGIN CERTIFICATE-----" in data:
            raise ValueError(f"{file_name(path)} has a malformed certificate: {_reason(error)}") from None
        raise ValueError(
            f'{file_name(path)} has no PEM certificate, a block that starts with "-----BEGIN CERTIFICATE-----"'
        ) from None


def parse_key(path: Path, data: bytes) -> PrivateKeyTypes:
    """Return the private key of a PEM file. Raises ``ValueError`` that names file and problem."""
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        raise ValueError(
            f"{file_name(path)} is encrypted, and the daemon cannot ask for its passphrase; "
            "decrypt it with `openssl pkey` and protect it by file permissions"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if _KEY.search(data):
            raise ValueError(f"{file_name(path)} has a key that cannot be used: {_reason(error)}") from None
        raise ValueError(
            f'{file_name(path)} has no PEM private key, a block that starts with "-----BEGIN PRIVATE KEY-----"'
        ) from None


def chain_pem(chain: list[x509.Certificate]) -> bytes:
    """Return a chain as every reader of PEM understands it, whatever the line breaks of its file were."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in chain)


def key_pem(data: bytes) -> bytes:
    """Return the block of the private key in a file that was parsed, on lines of its own."""
    found = _KEY.search(data)
    return found[0] + b"\n" if found else data


def public(key: PublicKeyTypes) -> bytes:
    """Return a public key in a form that can be compared."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_file(path: Path) -> bytes:
    """Return what is in a file. Raises ``ValueError`` that names the file and why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{file_name(path)} cannot be read: {error.strerror}") from None


def file_name(path: Path) -> str:
    """Return a path as it is shown in messages."""
    return shown(str(path), limit=4096)


def _reason(error: Exception) -> str:
    return str(error).partition(". See ")[0].partition("\n")[0].rstrip(".")
