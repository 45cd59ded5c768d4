"""Which certificate a client gets, and what a listener's context offers at all."""

import ssl

import pytest
from certificate_files import read, serving
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st


def served(server, name, client=None):
    """The subject of the certificate a client is shown that asks for ``name``; the handshake is done in memory."""
    client = client or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    for side in (near, far, near, far, near):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return near, far


def subject(server, name):
    near, _ = served(server, name)
    return ssl.DER_cert_to_PEM_cert(near.getpeercert(binary_form=True))


@pytest.fixture(scope="module")
def certificates(make_certificate):
    return {
        "default": make_certificate("default.example"),
        "exact": make_certificate("one.wild.example", "Upper.Example"),
        "wild": make_certificate("*.wild.example"),
        "nameless": make_certificate(),
    }


@pytest.fixture(scope="module")
def server(certificates):
    return serving(*certificates.values())


@pytest.fixture(scope="module")
def by_pem(certificates):
    return {files.cert.read_text(): name for name, files in certificates.items()}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("default.example", "default"),
        ("one.wild.example", "exact"),  # an exact name wins over a wildcard, in whatever order they are given
        ("two.wild.example", "wild"),
        ("TWO.Wild.Example", "wild"),
        ("upper.example", "exact"),
        ("a.two.wild.example", "default"),  # a wildcard stands for one label
        ("wild.example", "default"),
        ("stranger.example", "default"),
        ("two.wild.example.", "wild"),
        ("localhost", "default"),
        (None, "default"),
    ],
)
def test_the_certificate_of_a_name(server, by_pem, asked, expected):
    assert by_pem[subject(server, asked)] == expected


LABEL = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)


@given(st.lists(LABEL, min_size=1, max_size=5).map(".".join).filter(lambda name: not name.startswith(("-", "."))))
def test_whatever_is_asked_for_some_certificate_is_shown(server, by_pem, name):
    assert subject(server, name) in by_pem


def test_names_of_a_certificate(certificates):
    exact, nameless = read(certificates["exact"], certificates["nameless"])
    assert exact.names == ("one.wild.example", "upper.example")
    assert nameless.names == ("nameless",)  # its common name


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


def client_of(algorithm):
    """A client that can only verify signatures of ``algorithm``: RSA or ECDSA."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"ECDHE-{algorithm}-AES128-GCM-SHA256")
    return client


def shown_to(server, name, client=None):
    near, _ = served(server, name, client)
    return ssl.DER_cert_to_PEM_cert(near.getpeercert(binary_form=True))


@pytest.mark.parametrize("first", ["rsa", "ec"])
def test_each_client_gets_the_certificate_it_can_use(make_certificate, rsa_key, first):
    by_rsa = make_certificate("a.example", "b.example", key=rsa_key)
    by_ec = make_certificate("c.example", "a.example", "*.wild.example")
    server = serving(*((by_rsa, by_ec) if first == "rsa" else (by_ec, by_rsa)))
    assert shown_to(server, "a.example", client_of("RSA")) == by_rsa.cert.read_text()
    assert shown_to(server, "a.example", client_of("ECDSA")) == by_ec.cert.read_text()
    assert shown_to(server, "a.example") == by_ec.cert.read_text()  # TLS 1.3: faster for us
    assert shown_to(server, "b.example", client_of("RSA")) == by_rsa.cert.read_text()
    with pytest.raises(ssl.SSLError):
        served(server, "b.example", client_of("ECDSA"))


def test_clients_without_a_name_get_what_they_can_use_too(make_certificate, rsa_key):
    by_rsa, by_ec = make_certificate("a.example", key=rsa_key), make_certificate("a.example")
    server = serving(by_rsa, by_ec)
    for algorithm, files in (("RSA", by_rsa), ("ECDSA", by_ec)):
        assert shown_to(server, None, client_of(algorithm)) == files.cert.read_text()


def test_a_wildcard_serves_those_who_cannot_use_the_exact_certificate(make_certificate, rsa_key):
    exact, wild = make_certificate("one.wild.example"), make_certificate("*.wild.example", key=rsa_key)
    server = serving(exact, wild)
    assert shown_to(server, "one.wild.example", client_of("RSA")) == wild.cert.read_text()
    assert shown_to(server, "one.wild.example", client_of("ECDSA")) == exact.cert.read_text()


def test_http_1_1_is_what_we_speak(server):
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.set_alpn_protocols(["h2", "http/1.1"])
    near, far = served(server, "default.example", client)
    assert near.selected_alpn_protocol() == far.selected_alpn_protocol() == "http/1.1"


def test_tls_1_2_has_forward_secrecy_and_aead_only(server):
    names = {cipher["name"] for cipher in server.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert names
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "POLY1305" in name) for name in names)


@pytest.mark.parametrize("least", ["1.2", "1.3"])
def test_older_versions_are_not_spoken(certificate, least):
    context = serving(certificate, min_version=least)
    assert context.minimum_version == {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[least]
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
