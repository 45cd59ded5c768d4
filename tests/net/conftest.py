"""A clock that stands still until the test moves it, certificates, and TLS contexts."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trio.testing
from certificate_files import serving
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from balancer.config.listener import CertificateConfig


@pytest.fixture
def clock():
    return trio.testing.MockClock()


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory):
    """A self-signed certificate for names; its subject is the first of them, or ``nameless``."""
    directory = tmp_path_factory.mktemp("certificates")

    def make(*names, key=None):
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nameless")])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
        stem = directory / f"{len(list(directory.iterdir()))}"
        files = CertificateConfig(cert=stem.with_suffix(".crt"), key=stem.with_suffix(".key"))
        files.cert.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    return make


@pytest.fixture(scope="session")
def certificate(make_certificate):
    return make_certificate("ide.example")


@pytest.fixture(scope="session")
def context(certificate):
    """A listener's TLS context."""
    return serving(certificate)


@pytest.fixture(scope="session")
def client_context(certificate):
    """A context of its client, new each time; ``version`` is the only one it speaks."""

    def make(version=None):
        context = ssl.create_default_context(cafile=str(certificate.cert))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    return make
