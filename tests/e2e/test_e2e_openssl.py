"""OpenSSL's own client with what a listener must not agree to, and handshakes that stop anywhere."""

import shutil
import ssl
import subprocess

import pytest
from harness import listener, pool
from wire import PATIENCE, get

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="needs openssl")


@pytest.fixture(scope="module")
def daemon(start, home, authority):
    tls = {"certificates": [authority.issue("ide.example")]}
    return start(listeners=[listener("safe", tls=tls)], pool=[pool(home)], timeouts={"handshake": "300ms"})


def s_client(daemon, *options, said=b""):
    """What the client tells of its connection, and whether it was content."""
    address = f"127.0.0.1:{daemon.ports['safe'][0]}"
    command = [OPENSSL, "s_client", "-connect", address, "-servername", "ide.example", *options]
    done = subprocess.run(command, input=said, capture_output=True, timeout=PATIENCE)
    return done.returncode == 0, (done.stdout + done.stderr).decode("latin-1")


def test_an_ordinary_client_is_content(daemon):
    content, told = s_client(daemon, "-tls1_2")
    assert content
    assert "New, TLSv1.2, Cipher is ECDHE-ECDSA" in told
    assert "Secure Renegotiation IS supported" in told  # RFC 5746: nobody can splice one in


@pytest.mark.parametrize(
    "options",
    [
        ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "DHE:PSK:SRP:@SECLEVEL=0"],
    ],
    ids=["TLS 1.0", "TLS 1.1", "no forward secrecy", "CBC", "short tags", "no key or no cipher", "others"],
)
def test_weak_ones_are_refused(daemon, options):
    content, told = s_client(daemon, *options)
    assert not content
    assert "Cipher is (NONE)" in told
    assert "alert" in told


def test_no_compression(daemon):
    content, told = s_client(daemon, "-tls1_2", "-comp")
    assert content
    assert "Compression: NONE" in told


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_protocols_that_are_not_spoken_are_refused(daemon, version):
    content, told = s_client(daemon, version, "-alpn", "h2,acme-tls/1")
    assert not content
    assert "no application protocol" in told
    daemon.logged(ended="TLS failed: the client offers no protocol that is spoken here")
    content, told = s_client(daemon, version, "-alpn", "h2,http/1.1")
    assert content
    assert "ALPN protocol: http/1.1" in told


def test_plain_http_to_a_tls_port_is_told_so(daemon):
    with daemon.connect("safe") as client:
        client.send(get("/?token=secret"))
        response = client.response()
        assert response.status == 400
        assert b"use https" in response.body
        assert client.ended()
    daemon.logged(ended="a plain HTTP request to a TLS port")


def test_no_renegotiation(daemon):
    """A line with an R makes the client ask for it; it must end there, and not get a second handshake."""
    _, told = s_client(daemon, "-tls1_2", said=b"R\n")
    assert "RENEGOTIATING" in told
    assert "no renegotiation" in told


def test_no_early_data(daemon, authority, tmp_path):
    """What comes before the handshake is complete could be repeated by anybody (RFC 8446, 8)."""
    session = tmp_path / "session"
    content, told = s_client(daemon, "-tls1_3", "-sess_out", str(session), said=get("/", "Connection: close"))
    assert content
    assert "Max Early Data: 0" in told or "Early data was not sent" in told


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_handshake_that_stops_anywhere_is_over_in_time(daemon, authority, version):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = authority.client(version).wrap_bio(incoming, outgoing, server_hostname="ide.example")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    data = outgoing.read()
    for size in (1, 4, 5, 6, 43, len(data) - 1):
        with daemon.connect("safe") as client:
            client.send(data[:size])
            assert client.ended(), size
    with daemon.connect("safe") as client:  # and one that goes on, and then does not
        client.send(data)
        assert client.more()[:1] == b"\x16"
        while not client.ended():
            pass
