"""A certificate authority of the tests' own, with elliptic keys."""

import contextlib
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Issues certificates into ``folder``; ``client`` makes contexts that trust them."""

    def __init__(self, folder):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests' own authority")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self._cert = self._signed(self._name, self._key, constraints)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names, days=30):
        """A certificate for those DNS names, as the configuration wants it; it ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        cert = self._signed(subject, key, alternatives, days)
        stem = names[0].replace("*", "any")
        chain, secret = self._folder / f"{stem}.crt", self._folder / f"{stem}.key"
        chain.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        secret.chmod(0o600)
        return {"cert": str(chain), "key": str(secret)}

    def client(self, version=None, alpn=("http/1.1",)):
        """A client's context; ``version`` is the only one it speaks."""
        context = ssl.create_default_context(cafile=str(self.file))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(list(alpn))
        return context

    def server(self, *names, version=None, asks=False):
        """A server's context with a certificate for these names; ``asks`` wants one of the client, from here."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = self.issue(*names)
        context.load_cert_chain(pair["cert"], pair["key"])
        context.set_alpn_protocols(["h2", "http/1.1"])
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(str(self.file))
        return context

    def hello(self, name):
        """What a client sends first when it asks for ``name``."""
        outgoing = ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.client().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
        return outgoing.read()

    def _signed(self, subject, key, extension, days=30):
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + timedelta(days=days))
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())

    def revoked(self, *pairs, days=30):
        """The file of a list of revoked certificates, due for renewal in so many days."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - timedelta(days=9)).next_update(now + timedelta(days=days))
        for pair in pairs:
            with open(pair["cert"], "rb") as file:
                number = x509.load_pem_x509_certificate(file.read()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - timedelta(days=1))
            builder = builder.add_revoked_certificate(entry.build())
        path = self._folder / f"revoked-{len(pairs)}-{days}.crl"
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path
