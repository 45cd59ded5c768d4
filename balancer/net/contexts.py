"""TLS contexts: those of a listener, chosen by the name the client asks for; one for a pool.

Matching follows RFC 6125, 6.4: names compare without case, and ``*.example.com`` stands for exactly one label. A name
that has certificates of several algorithms, such as RSA and ECDSA, has a context that holds them all, and OpenSSL takes
the one that the client can use. Of one algorithm, an exact name wins over a wildcard; an unknown name, or none at all,
gets the first certificate. All of it is as with haproxy.
TLS 1.2 is offered with forward secrecy and AEAD only; compression and renegotiation are off (RFC 9325).
"""

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from balancer.config.pem import Pem, by_name
from balancer.config.settings import BackendTlsSettings, ClientCertificates, TlsSettings

CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"


ContextKey = tuple[str, tuple[Pem, ...], ClientCertificates | None]
"""The lowest version of TLS, certificates of different algorithms, and what those of clients are verified by."""


class ServerContexts:
    """The contexts of a listener, one for each set of certificates that names have.

    Building one takes 2 ms of CPU, and a new context forgets the TLS sessions of the old one, so those of ``former``
    whose certificates are the same are used again. Nothing changes for handshakes until ``activate``.
    """

    def __init__(self, tls: TlsSettings, former: "ServerContexts | None" = None) -> None:
        """Raise ``OSError``, of which ``ssl.SSLError`` is one, for certificates that cannot be served."""
        self.settings = tls
        self.by_certificates: dict[ContextKey, ssl.SSLContext] = {}
        known = former.by_certificates if former is not None else {}

        def context(certificates: tuple[Pem, ...]) -> ssl.SSLContext:
            key = tls.min_version, certificates, tls.client
            found = self.by_certificates.get(key) or known.get(key) or _context(tls, certificates)
            return self.by_certificates.setdefault(key, found)

        chosen, first = by_name(tls.certificates), tls.certificates[0]
        self._by_name = {name: context(certificates) for name, certificates in chosen.items()}
        self.default = context(chosen[first.names[0]] if first.names else (first,))
        """What handshakes start with; it switches to another when SNI asks for one."""

    def activate(self) -> "ServerContexts":
        """Choose among these certificates from the next handshake on."""
        self.default.sni_callback = self._choose
        return self

    def _choose(self, handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            name = name.lower().rstrip(".")
            handshake.requested_name = name  # type: ignore[attr-defined]  # OpenSSL has it, but Python does not offer it
            chosen = self._by_name.get(name) or self._by_name.get("*." + name.partition(".")[2])
            if chosen is not None:
                handshake.context = chosen


def client_context(tls: BackendTlsSettings) -> ssl.SSLContext:
    """Return the context of handshakes with the backends of a pool, which verifies their certificates.

    Loading the authorities of the system takes 50 ms. Raise ``OSError`` for certificates that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.authorities is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        with _file(tls.authorities) as authorities:
            context.load_verify_locations(authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if tls.certificate is not None:
        with _file(tls.certificate.cert) as cert, _file(tls.certificate.key) as key:
            context.load_cert_chain(cert, key)
    return context


def unraisable(event: "sys.UnraisableHookArgs") -> None:
    """Report an exception as Python's own ``sys.unraisablehook`` does, except for names that a client made up.

    A name that is not ASCII fails in Python before the SNI callback is called. The handshake ends with an alert and a
    line in the access log; the client's bytes are not to appear in our log.
    """
    if event.exc_type is not UnicodeDecodeError:
        sys.__unraisablehook__(event)


def _context(tls: TlsSettings, certificates: tuple[Pem, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS_1_2)
    context.set_alpn_protocols(["http/1.1"])
    for certificate in certificates:
        with _file(certificate.cert) as cert, _file(certificate.key) as key:
            context.load_cert_chain(cert, key)
    if tls.client is not None:
        _verify_clients(context, tls.client)
    return context


def _verify_clients(context: ssl.SSLContext, client: ClientCertificates) -> None:
    """Ask clients for a certificate. All contexts of a listener do, as OpenSSL asks before SNI has chosen one."""
    context.verify_mode = ssl.CERT_REQUIRED if client.required else ssl.CERT_OPTIONAL
    with _file(client.authorities) as authorities:
        context.load_verify_locations(authorities)
    if client.crls is not None:
        with _file(client.crls) as crls:
            context.load_verify_locations(crls)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN  # authorities may be revoked too, as with haproxy and nginx


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """Return the name of a file in memory: Python's interface to OpenSSL takes certificates by name only."""
    fd = os.memfd_create("pem")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
