"""The demo's certificate, as a TLS client sees it."""

import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from balancer.demo.certificate import make_certificate


@pytest.fixture
def files(tmp_path):
    return make_certificate(tmp_path)


def handshake(files, name):
    """A TLS handshake in memory; raises what the client raises."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.cert, files.key)
    client = ssl.create_default_context(cafile=str(files.cert))
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(pipes[0], pipes[1], server_hostname=name),
        server.wrap_bio(pipes[1], pipes[0], server_side=True),
    ]
    done = set()
    while len(done) < 2:
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            done.add(end)
    return ends[0].version()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_it_is_good_for_this_machine(files, name):
    assert handshake(files, name) == "TLSv1.3"


def test_it_is_good_for_nothing_else(files):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(files, "example.org")


def test_it_is_no_authority_and_lasts_a_month(files):
    certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


def test_only_the_owner_reads_the_key(files):
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
