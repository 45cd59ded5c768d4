"""Certificates and keys made for each case, and what `check` says about them."""

import datetime
import functools
import ipaddress
from pathlib import Path

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

from balancer.config.certificates import describe_pem
from balancer.config.settings import TlsSettings
from balancer.control.certificates import check
from balancer.net.contexts import ServerContexts

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


def make_certificate(key, names=("ide.test",), start=NOW - DAY, end=NOW + 90 * DAY, common="ide.test"):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)] if common else [])
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


def test_describe():
    names = ("IDE.test", "*.ide.test", ipaddress.ip_address("::1"))
    certificate = make_certificate(new_key(), names)
    info = describe_pem(Path("ide.crt"), certificate.public_bytes(Encoding.PEM))
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


def test_a_certificate_without_alternative_names(judge, files):
    folder = files(pem(new_key()), make_certificate(new_key(), names=()))
    advice = "browsers require subjectAltName (RFC 9525) and refuse it"
    assert judge(CONFIG) == ([], [f'{CERT}: "{folder}/ide.crt" has only a common name, "ide.test": {advice}'])
    files(pem(new_key()), make_certificate(new_key(), names=(), common=None))
    assert judge(CONFIG) == ([], [f'{CERT}: "{folder}/ide.crt" has no name: {advice}'])


def test_a_certificate_that_is_never_used(judge, files):
    folder = files()
    more = '[[listener.tls.certificates]]\ncert = "ide.crt"\nkey = "ide.key"\n[[pool]]'
    _, warnings = judge(CONFIG.replace("[[pool]]", more))
    assert warnings == []  # the same files twice: they are used
    other = make_certificate(new_key(1))
    (folder / "other.crt").write_bytes(other.public_bytes(Encoding.PEM))
    (folder / "other.key").write_bytes(pem(new_key(1)))
    _, warnings = judge(CONFIG.replace("[[pool]]", more.replace("ide.", "other.")))
    at = '9: listener "ide" > tls > certificates #2 > cert'
    assert warnings == [f'{at}: "{folder}/other.crt" is never used: an earlier one has its names']


@pytest.mark.parametrize(
    ("host", "warned"), [("ide.test", False), ("IDE.test.:8443", False), ("other.test", True), ("a.ide.test", True)]
)
def test_a_redirect_to_a_host_without_a_certificate(judge, files, host, warned):
    files()
    plain = f'[[listener]]\nname = "plain"\nbind = ["127.0.0.1:80"]\nredirect = "https://{host}"\n'
    message = f'4: listener "plain" > redirect: no certificate of this file covers "{host}": clients get 421'
    assert judge(plain + CONFIG) == ([], [message] if warned else [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b"-----END CERTIFICATE-----\n-----BEGIN", b"-----END CERTIFICATE----------BEGIN"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"subject=CN = ide.test\n" + text.rstrip(b"\n"),
    ],
    ids=["glued together", "byte order mark", "CRLF", "text before it"],
)
def test_chains_as_people_have_them_are_served_as_they_are_checked(tmp_path, files, spoil):
    folder = files(pem(new_key()), make_certificate(new_key()), make_certificate(new_key(1)))
    path = folder / "ide.crt"
    spoilt = spoil(path.read_bytes())
    assert spoilt != path.read_bytes()
    path.write_bytes(spoilt)
    key = folder / "ide.key"
    key.write_bytes(b"\xef\xbb\xbf" + key.read_bytes().rstrip(b"\n"))
    (folder / "balancer.toml").write_text(CONFIG)
    report = check(folder / "balancer.toml", NOW)
    assert report.problems == []
    (served,) = report.files.certificates["ide"]
    ServerContexts(TlsSettings((served,)))
    assert len(x509.load_pem_x509_certificates(served.cert)) == 2


def test_what_openssl_refuses_is_a_problem_with_file_and_line(files):
    weak = ec.generate_private_key(ec.SECP192R1())
    folder = files(pem(weak), make_certificate(weak))
    path = folder / "balancer.toml"
    path.write_text(CONFIG)
    (problem,) = check(path, NOW).problems
    assert str(problem) == (
        f'{path}:5: listener "ide" > tls > certificates #1: OpenSSL refuses "{folder}/ide.crt": ee key too small'
    )


def test_what_openssl_refuses_of_a_pool_is_a_problem(files):
    weak = ec.generate_private_key(ec.SECP192R1())
    folder = files(pem(weak), make_certificate(weak))
    path = folder / "balancer.toml"
    plain = CONFIG.replace('[[listener.tls.certificates]]\ncert = "ide.crt"\nkey = "ide.key"\n', "")
    path.write_text(plain + '[pool.tls]\nenabled = true\nca_file = "ide.crt"\ncert = "ide.crt"\nkey = "ide.key"\n')
    (problem,) = check(path, NOW).problems
    assert str(problem) == f'{path}:8: pool "ide" > tls: OpenSSL refuses its certificates: ee key too small'


def test_malformed_extensions(judge, files):
    certificate = make_certificate(new_key(), names=("ide.test",)).public_bytes(Encoding.DER)
    folder = files()
    # The dNSName [2] "ide.test" becomes a context tag that GeneralName does not have.
    broken = certificate.replace(b"\x82\x08ide.test", b"\x9f\x08ide.test")
    assert broken != certificate
    certificate = x509.load_der_x509_certificate(broken)
    files(pem(new_key()), certificate)
    assert judge(CONFIG)[0][0].startswith(f'{CERT}: "{folder}/ide.crt" has malformed extensions: ')
