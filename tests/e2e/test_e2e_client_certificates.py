"""Certificates of clients: who is let in, what hosts are told, and lists of revoked ones that are renewed."""

import shutil
import ssl

import pytest
from authority import Authority
from harness import listener, pool
from wire import answer, eventually, get, reached

NAMES = ["ide"]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
SUBJECT = {"request_fields": {"set": {"X-Subject": "{client_subject}", "X-Name": "{client_cn}"}}}


@pytest.fixture(scope="module")
def pairs(authority, tmp_path_factory):
    """Certificates of clients: one to be let in, a revoked one, and one of somebody else's authority."""
    other = Authority(tmp_path_factory.mktemp("other"))
    return {"good": authority.issue("alice"), "revoked": authority.issue("mallory"), "foreign": other.issue("alice")}


@pytest.fixture(scope="module")
def crl(authority, pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp("revoked") / "clients.crl"
    shutil.copy(authority.revoked(pairs["revoked"]), path)
    return path


@pytest.fixture(scope="module")
def daemon(start, homes, authority, crl):
    names = {"certificates": [authority.issue("ide.example"), authority.issue("b.example")]}
    asks = {**names, "client_ca": str(authority.file)}
    listeners = [
        listener("required", tls={**asks, "client": "required", "client_crl": str(crl)}, **SUBJECT),
        listener("optional", tls={**asks, "client": "optional"}, **SUBJECT),
        listener("raw", mode="tcp", tls={**asks, "client": "required"}),
    ]
    return start(listeners=listeners, pool=[pool(*homes)])


def context(authority, version, pair=None):
    made = authority.client(version)
    if pair is not None:
        made.load_cert_chain(pair["cert"], pair["key"])
    return made


def asked(daemon, backends, way, context, name="ide.example"):
    """The request as it reaches a host."""
    with daemon.connect(way, context, name) as client:
        client.send(get("/?token=secret-1", "X-Subject: CN=root", "X_Name: root"))
        _, peer = reached(backends)
        request = peer.request()
        peer.send(answer(b"", "Connection: close"))
        assert client.response().status == 200
        peer.close()
    return request.raw.lower()


def refused(daemon, way, context, why=""):
    """The handshake fails, or with TLS 1.3 what follows it, and it is logged."""
    with daemon.connect(way) as client:
        assert fails(client, context)
    assert daemon.stdout.wait_for(
        lambda line: f'"handshake","client":"127.0.0.1","listener":"{way}"' in line and why in line
    )


def fails(client, context, session=None):
    """Whether the handshake is refused; with TLS 1.3 the client learns it with the first byte that it reads."""
    try:
        client.sock = context.wrap_socket(client.sock, server_hostname="ide.example", session=session)
        client.send(get("/"))  # answered at once, as it has no token
        return not client.more()
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize("version", VERSIONS)
class TestClients:
    @pytest.mark.parametrize("name", ["ide.example", "b.example"])
    def test_hosts_learn_the_subject(self, daemon, backends, authority, pairs, version, name):
        request = asked(daemon, backends, "required", context(authority, version, pairs["good"]), name)
        assert b"\r\nx-subject: cn=alice\r\n" in request
        assert b"\r\nx-name: alice\r\n" in request
        assert b"root" not in request

    def test_one_without_a_certificate(self, daemon, backends, authority, version):
        refused(daemon, "required", context(authority, version), "did not return a certificate")
        request = asked(daemon, backends, "optional", context(authority, version))
        assert b"x-subject" not in request
        assert b"root" not in request

    @pytest.mark.parametrize("way", ["required", "optional", "raw"])
    def test_a_foreign_one_is_refused_everywhere(self, daemon, authority, pairs, version, way):
        refused(daemon, way, context(authority, version, pairs["foreign"]))

    def test_a_revoked_one(self, daemon, backends, authority, pairs, version):
        revoked = context(authority, version, pairs["revoked"])
        refused(daemon, "required", revoked, "certificate revoked")
        assert b"cn=mallory" in asked(daemon, backends, "optional", revoked)


def test_a_renewed_list_counts_for_new_handshakes(daemon, backends, authority, pairs, crl):
    """Also for clients that resume a session: its certificate was verified by the old list."""
    good = context(authority, ssl.TLSVersion.TLSv1_2, pairs["good"])
    asked(daemon, backends, "required", good)
    with daemon.connect("required", good, "ide.example") as client:
        session = client.sock.session
    renewed = crl.with_suffix(".new")
    shutil.copy(authority.revoked(pairs["revoked"], pairs["good"]), renewed)
    renewed.replace(crl)
    daemon.stderr.wait_for(lambda line: "certificates have changed and are active" in line)

    def refused_now():
        with daemon.connect("required") as client:
            return fails(client, good)

    eventually(refused_now)
    with daemon.connect("optional", good, "ide.example"):
        pass
    with daemon.connect("required") as client:
        assert fails(client, good, session)
