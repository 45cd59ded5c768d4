"""Subjects of certificates on one line, as OpenSSL writes them with XN_FLAG_RFC2253."""

import re
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.net.subject import common_name, subject_line

KINDS = {
    "commonName": NameOID.COMMON_NAME,
    "organizationName": NameOID.ORGANIZATION_NAME,
    "organizationalUnitName": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "emailAddress": NameOID.EMAIL_ADDRESS,
    "domainComponent": NameOID.DOMAIN_COMPONENT,
    "userId": NameOID.USER_ID,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "givenName": NameOID.GIVEN_NAME,
    "surname": NameOID.SURNAME,
}
ASCII = ("emailAddress", "domainComponent", "serialNumber")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
PLAIN = st.text("abcXYZ019 +,-.:=()", min_size=1, max_size=9)
PAIRS = st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), PLAIN if kind in ASCII else TEXT))
NAMES = st.lists(PAIRS, min_size=1, max_size=4)


def certificate(name, folder):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(KINDS[kind], value) for kind, value in name])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    file = folder / "request.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@settings(max_examples=25)
@given(NAMES)
def test_as_openssl_writes_it(tmp_path_factory, name):
    file = certificate(name, tmp_path_factory.mktemp("subject"))
    command = ["openssl", "req", "-in", str(file), "-noout", "-subject", "-nameopt", "RFC2253"]
    theirs = subprocess.run(command, capture_output=True, check=True).stdout
    assert subject_line([[pair] for pair in name]) == theirs.removeprefix(b"subject=").removesuffix(b"\n")


@given(NAMES)
def test_it_is_one_line_of_visible_ascii(name):
    for text in (subject_line([[pair] for pair in name]), common_name([[pair] for pair in name])):
        assert re.fullmatch(rb"[ -~]*", text)


def test_several_attributes_in_one_part():
    name = [[("countryName", "DE")], [("commonName", "a"), ("userId", "1")]]
    assert subject_line(name) == b"CN=a+UID=1,C=DE"
    assert common_name(name) == b"a"
    assert (subject_line([]), common_name([])) == (b"", b"")
