"""Certificates and keys made for each case, and what `check` says about them."""

import datetime
import functools
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from balancer.config.certificates import describe

NOW = 1_907_712_000.0  # 2030-06-15 00:00 UTC, as in `judge`
DAY = 86400
CONFIG = """\
[[listener]]
name = "ide"
bind = ["127.0.0.1:443"]
pool = "ide"
[[listener.tls.certificates]]
cert = "ide.crt"
key = "ide.key"
[[pool]]
name = "ide"
backend = [{ name = "ide-01", address = "10.0.0.1:4001" }]
"""
CERT = '6: listener "ide" > tls > certificates #1 > cert'
KEY = '7: listener "ide" > tls > certificates #1 > key'


@functools.cache
def new_key(number=0):
    return ec.generate_private_key(ec.SECP256R1())


def make_certificate(key, names=("ide.test",), start=NOW - DAY, end=NOW + 90 * DAY):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ide.test")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.datetime.fromtimestamp(start, datetime.UTC))
    builder = builder.not_valid_after(datetime.datetime.fromtimestamp(end, datetime.UTC))
    if names:
        general = [x509.DNSName(each) if isinstance(each, str) else x509.IPAddress(each) for each in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(key, hashes.SHA256())


def pem(key, passphrase=None):
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.fixture
def files(tmp_path):
    """Writes the two files that ``CONFIG`` names into the folder it returns."""

    def write(key=None, *certificates):
        key = key or pem(new_key())
        chain = certificates or (make_certificate(new_key()),)
        (tmp_path / "ide.crt").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        (tmp_path / "ide.key").write_bytes(key)
        return tmp_path

    return write


def test_a_good_pair(judge, files):
    files()
    assert judge(CONFIG) == ([], [])


def test_describe(files):
    names = ("IDE.test", "*.ide.test", ipaddress.ip_address("::1"))
    certificate = make_certificate(new_key(), names)
    info = describe(files(pem(new_key()), certificate) / "ide.crt")
    assert info.names == ("ide.test", "*.ide.test", "::1")
    assert (info.not_before, info.not_after) == (NOW - DAY, NOW + 90 * DAY)
    assert info.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("name", ["ide.crt", "ide.key"])
def test_files_that_are_not_there(judge, files, name):
    folder = files()
    (folder / name).unlink()
    at = CERT if name == "ide.crt" else KEY
    assert judge(CONFIG)[0] == [f'{at}: "{folder / name}" cannot be read: No such file or directory']
    (folder / name).mkdir()
    assert judge(CONFIG)[0] == [f'{at}: "{folder / name}" cannot be read: Is a directory']


def test_files_that_are_not_pem(judge, files):
    folder = files(b"not a key")
    assert judge(CONFIG)[0] == [
        f'{KEY}: "{folder}/ide.key" has no PEM private key, a block that starts with "-----BEGIN PRIVATE KEY-----"'
    ]
    (folder / "ide.crt").write_bytes(b"\xff\x00")
    assert judge(CONFIG)[0] == [
        f'{CERT}: "{folder}/ide.crt" has no PEM certificate, a block that starts with "-----BEGIN CERTIFICATE-----"',
        f'{KEY}: "{folder}/ide.key" has no PEM private key, a block that starts with "-----BEGIN PRIVATE KEY-----"',
    ]


def test_the_two_files_swapped(judge, files):
    folder = files()
    problems, _ = judge(CONFIG.replace("ide.crt", "x").replace("ide.key", "ide.crt").replace('"x"', '"ide.key"'))
    assert problems[0].startswith(f'{CERT}: "{folder}/ide.key" has no PEM certificate')


def test_an_encrypted_key(judge, files):
    folder = files(pem(new_key(), b"passphrase"))
    assert judge(CONFIG)[0] == [
        f'{KEY}: "{folder}/ide.key" is encrypted, and the daemon cannot ask for its passphrase; '
        "decrypt it with `openssl pkey` and protect it by file permissions"
    ]


def test_the_key_of_another_certificate(judge, files):
    folder = files(pem(new_key(1)))
    assert judge(CONFIG)[0] == [f'{KEY}: "{folder}/ide.key" is not the key of "{folder}/ide.crt"']


def test_a_chain_in_the_wrong_order(judge, files):
    folder = files(pem(new_key()), make_certificate(new_key(1)), make_certificate(new_key()))
    assert judge(CONFIG)[0] == [
        f'{KEY}: "{folder}/ide.key" is the key of certificate 2 in "{folder}/ide.crt": put that one first'
    ]
    files(pem(new_key()), make_certificate(new_key()), make_certificate(new_key(1)))
    assert judge(CONFIG) == ([], [])


def test_a_short_rsa_key(judge, files):
    key = rsa.generate_private_key(65537, 1024)
    folder = files(pem(key), make_certificate(key))
    assert judge(CONFIG)[0] == [f'{KEY}: "{folder}/ide.key" has 1024 bits; OpenSSL refuses RSA keys below 2048']


def test_out_of_date(judge, files):
    folder = files(pem(new_key()), make_certificate(new_key(), end=NOW - DAY / 2))
    assert judge(CONFIG) == ([], [f'{CERT}: "{folder}/ide.crt" expired on 2030-06-14 12:00 UTC; renew it'])
    files(pem(new_key()), make_certificate(new_key(), start=NOW + DAY))
    assert judge(CONFIG) == (
        [],
        [f'{CERT}: "{folder}/ide.crt" is not valid before 2030-06-16 00:00 UTC; is the clock right?'],
    )


def test_the_last_two_weeks(judge, files):
    folder = files(pem(new_key()), make_certificate(new_key(), end=NOW + 13.5 * DAY))
    assert judge(CONFIG) == ([], [f'{CERT}: "{folder}/ide.crt" expires in 13 days, on 2030-06-28 12:00 UTC'])
    files(pem(new_key()), make_certificate(new_key(), end=NOW + 14 * DAY))
    assert judge(CONFIG) == ([], [])


def test_a_certificate_without_names(judge, files):
    folder = files(pem(new_key()), make_certificate(new_key(), names=()))
    assert judge(CONFIG)[0] == [
        f'{CERT}: "{folder}/ide.crt" names no host: it has no subjectAltName, which clients require (RFC 9525)'
    ]


def test_malformed_extensions(judge, files):
    certificate = make_certificate(new_key(), names=("ide.test",)).public_bytes(Encoding.DER)
    folder = files()
    # The dNSName [2] "ide.test" becomes a context tag that GeneralName does not have.
    broken = certificate.replace(b"\x82\x08ide.test", b"\x9f\x08ide.test")
    assert broken != certificate
    certificate = x509.load_der_x509_certificate(broken)
    files(pem(new_key()), certificate)
    assert judge(CONFIG)[0][0].startswith(f'{CERT}: "{folder}/ide.crt" has malformed extensions: ')
