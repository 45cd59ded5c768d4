"""TLS contexts: of a listener one per certificate, chosen by the name the client asks for; of a pool one.

Matching follows RFC 6125, 6.4: names compare without case, and ``*.example.com`` stands for exactly one label. An exact
name wins over a wildcard; a name nobody has, or none at all, gets the first certificate, as haproxy and nginx do.
TLS 1.2 is offered with forward secrecy and AEAD only; compression and renegotiation are off (RFC 9325).
"""

import os
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from balancer.config.model import BackendTls, HealthTls, Tls
from balancer.config.pem import Pem

CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"


def server_context(tls: Tls, certificates: Sequence[Pem]) -> ssl.SSLContext:
    """The context a listener's handshakes start with; it switches to another certificate when SNI asks for one."""
    contexts = [_context(tls, certificate) for certificate in certificates]
    by_name: dict[str, ssl.SSLContext] = {}
    for certificate, context in zip(certificates, contexts, strict=True):
        for name in certificate.names:
            by_name.setdefault(name, context)

    def choose(handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None:
            name = name.lower().rstrip(".")
            handshake.requested_name = name  # type: ignore[attr-defined]  # OpenSSL keeps it, Python does not tell it
            chosen = by_name.get(name) or by_name.get("*." + name.partition(".")[2])
            if chosen is not None:
                handshake.context = chosen

    contexts[0].sni_callback = choose
    return contexts[0]


def client_context(tls: BackendTls | HealthTls) -> ssl.SSLContext:
    """The context of handshakes with the backends of a pool, which judges their certificates."""
    if tls.verify:
        context = ssl.create_default_context(cafile=tls.ca_file)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    if isinstance(tls, BackendTls) and tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def unraisable(event: "sys.UnraisableHookArgs") -> None:
    """What the daemon's ``sys.unraisablehook`` does: as Python's own, but silent about names a client made up.

    A name that is not ASCII fails in Python before ``choose`` is called; the handshake ends with an alert and a line in
    the access log, and the client's bytes have no business in our stderr.
    """
    if event.exc_type is not UnicodeDecodeError:
        sys.__unraisablehook__(event)


def _context(tls: Tls, certificate: Pem) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS_1_2)
    context.set_alpn_protocols(["http/1.1"])
    with _file(certificate.cert) as cert, _file(certificate.key) as key:
        context.load_cert_chain(cert, key)
    return context


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """A file that is only in memory: OpenSSL's reader, as Python has it, takes nothing but names."""
    fd = os.memfd_create("pem")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
