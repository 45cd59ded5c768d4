"""Files that certificates of clients are verified by: what is wrong with them, and with their keys."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from test_certificates import DAY, NOW, make_certificate, new_key, pem

from balancer.config.load import check

FILE = """
[[listener]]
name = "ide"
bind = ["127.0.0.1:443"]
pool = "ide"
[listener.tls]
certificates = [{{ cert = "ide.crt", key = "ide.key" }}]
{keys}
[[pool]]
name = "ide"
[[pool.backend]]
name = "a"
address = "127.0.0.1:1"
"""


def crl(common, due=NOW + DAY):
    due = datetime.fromtimestamp(due, UTC)
    builder = x509.CertificateRevocationListBuilder()
    builder = builder.issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)]))
    builder = builder.last_update(due - timedelta(days=7)).next_update(due)
    return builder.sign(new_key(), hashes.SHA256()).public_bytes(Encoding.PEM)


def public(certificate):
    return certificate.public_bytes(Encoding.PEM)


@pytest.fixture
def judge(tmp_path):
    key = new_key()
    (tmp_path / "ide.crt").write_bytes(public(make_certificate(key)))
    (tmp_path / "ide.key").write_bytes(pem(key))
    (tmp_path / "ca.crt").write_bytes(public(make_certificate(new_key(1), common="The CA")))
    (tmp_path / "ca.crl").write_bytes(crl("The CA"))
    (tmp_path / "old.crl").write_bytes(crl("The CA", NOW - DAY) + crl("Another"))

    def judge(*keys):
        file = tmp_path / "balancer.toml"
        file.write_text(FILE.format(keys="\n".join(keys)))
        report = check(file, NOW)
        said = [str(each).replace(str(tmp_path), "") for each in (*report.problems, *report.warnings)]
        return [text.partition("listener ")[2] for text in said]

    return judge


@pytest.mark.parametrize("kind", ["required", "optional"])
def test_all_three(judge, kind):
    assert judge(f'client = "{kind}"', 'client_ca = "ca.crt"', 'client_crl = "ca.crl"') == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (['client = "required"'], "client_ca: missing: client needs the certificates of the authorities"),
        (['client_ca = "ca.crt"'], 'client_ca: does not keep anybody out by itself: add client = "required"'),
        (['client_crl = "ca.crl"'], "client_crl: does not keep anybody out by itself"),
        (['client = "optional"', 'client_ca = "none"'], 'client_ca: "/none" cannot be read'),
        (['client = "optional"', 'client_ca = "ide.key"'], 'client_ca: "/ide.key" has no PEM certificate'),
        (['client = "optional"', 'client_ca = "ca.crt"', 'client_crl = "ca.crt"'], "has no CRL, a PEM block"),
        (['client = "maybe"'], 'client: expected "required" or "optional"'),
    ],
)
def test_problems(judge, keys, told):
    found = judge(*keys)
    assert len(found) == 1
    assert told in found[0]


def test_lists_that_refuse_clients_are_warned_of(judge):
    told = judge('client = "required"', 'client_ca = "ca.crt"', 'client_crl = "old.crl"')
    assert any("was due for renewal on" in each for each in told)
    told = judge('client = "required"', 'client_ca = "ide.crt"', 'client_crl = "ca.crl"')
    assert 'has no CRL of "CN=ide.test"' in told[0]
