"""TLS of a listener as OpenSSL's clients see it: names, versions, tickets, ends of streams, and what is not TLS."""

import contextlib
import socket
import ssl

import pytest
from harness import listener, pool
from wire import Peer, answer, get

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def daemon(start, home, authority):
    names = [["ide.example"], ["*.users.example"], ["anna.users.example", "two.example"]]
    certificates = [authority.issue(*each) for each in names]
    listeners = [
        listener("safe", tls={"certificates": certificates}),
        listener("modern", tls={"min_version": "1.3", "certificates": certificates}),
    ]
    return start(listeners=listeners, pool=[pool(home)], timeouts={"handshake": "500ms", "idle": "2s"})


def fetch(client, backend, target="/?token=secret-1"):
    client.send(get(target))
    peer = backend.peer()
    assert peer.request()["x-forwarded-proto"] == "https"
    peer.send(answer(b"over TLS"))
    assert client.response().body == b"over TLS"


class TestNames:
    @pytest.mark.parametrize(
        ("asked", "served"),
        [
            ("ide.example", "ide.example"),
            ("bert.users.example", "*.users.example"),
            ("BERT.Users.Example", "*.users.example"),
            ("anna.users.example", "anna.users.example"),
            ("two.example", "anna.users.example"),
            ("a.b.users.example", "ide.example"),
            ("users.example", "ide.example"),
            ("unknown.example", "ide.example"),
            (None, "ide.example"),
        ],
    )
    def test_the_certificate_follows_the_name(self, daemon, authority, asked, served):
        context = authority.client()
        context.check_hostname = False
        with daemon.connect("safe", context, asked) as client:
            assert client.sock.getpeercert()["subject"] == ((("commonName", served),),)

    def test_a_name_that_is_not_even_text(self, daemon, authority, backend):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = authority.client().wrap_bio(incoming, outgoing, server_hostname="ide.example")
        with pytest.raises(ssl.SSLWantReadError):
            hello.do_handshake()
        with daemon.connect("safe") as client:
            client.send(outgoing.read().replace(b"ide.example", b"\xff\xfe.example2"))
            assert client.more()[:1] == b"\x15"  # an alert
            assert client.ended()
        with daemon.connect("safe", authority.client(), "ide.example") as client:
            fetch(client, backend)


class TestVersions:
    @VERSIONS
    def test_both_are_spoken(self, daemon, authority, backend, version):
        with daemon.connect("safe", authority.client(version), "ide.example") as client:
            assert client.sock.version() == version.name.replace("_", ".")
            fetch(client, backend, f"/{version.name}?token=secret-1")
        entry = daemon.logged(path=f"/{version.name}")
        assert entry["tls"] == version.name.replace("_", ".")
        assert entry["tls_ms"] > 0

    def test_a_minimum_is_kept(self, daemon, authority):
        with pytest.raises(ssl.SSLError):
            daemon.connect("modern", authority.client(ssl.TLSVersion.TLSv1_2), "ide.example")

    @VERSIONS
    def test_only_aead_with_forward_secrecy(self, daemon, authority, version):
        with daemon.connect("safe", authority.client(version), "ide.example") as client:
            cipher = client.sock.cipher()[0]
        assert cipher.startswith(("ECDHE-", "TLS_"))
        assert "GCM" in cipher or "POLY1305" in cipher

    @pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1"], []])
    def test_http_1_1_is_agreed_on(self, daemon, authority, offered):
        with daemon.connect("safe", authority.client(alpn=offered), "ide.example") as client:
            assert client.sock.selected_alpn_protocol() == ("http/1.1" if offered else None)


class TestTickets:
    @VERSIONS
    @pytest.mark.parametrize("name", ["ide.example", "bert.users.example"])
    def test_a_ticket_shortens_the_next_handshake(self, daemon, authority, backend, version, name):
        context = authority.client(version)
        with daemon.connect("safe", context, name) as client:
            fetch(client, backend)  # in TLS 1.3 tickets come with the first answer
            session = client.sock.session
        sock = socket.create_connection(("127.0.0.1", daemon.ports["safe"][0]))
        with Peer(context.wrap_socket(sock, server_hostname=name, session=session)) as client:
            assert client.sock.session_reused
            fetch(client, backend)


class TestEnds:
    @VERSIONS
    def test_the_balancer_says_goodbye(self, daemon, authority, backend, version):
        with daemon.connect("safe", authority.client(version), "ide.example") as client:
            client.send(get("/?token=secret-1", "Connection: close"))
            peer = backend.accept()
            peer.request()
            peer.send(answer(b"last"))
            assert client.response().body == b"last"
            # Without close_notify this would raise SSLEOFError.
            assert client.more() == b""

    @VERSIONS
    def test_a_body_ended_by_close_is_ended_by_close_notify(self, daemon, authority, backend, version):
        with daemon.connect("safe", authority.client(version), "ide.example") as client:
            client.send(get(version="1.0"))
            with backend.accept() as peer:
                peer.request()
                peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
            assert client.response().body == b"all of it"

    @VERSIONS
    def test_a_client_says_goodbye(self, daemon, authority, backend, version):
        with daemon.connect("safe", authority.client(version), "ide.example") as client:
            fetch(client, backend)
            client.sock.unwrap()  # returns when the other close_notify has come

    def test_a_client_just_leaves(self, daemon, authority, backend):
        client = daemon.connect("safe", authority.client(), "ide.example")
        client.send(get("/leaves?token=secret-1"))
        peer = backend.accept()
        peer.request()
        client.reset()
        assert peer.ended()
        assert daemon.logged(path="/leaves")["by"] == "client"

    def test_a_client_says_goodbye_while_the_backend_thinks(self, daemon, authority, backend):
        client = daemon.connect("safe", authority.client(), "ide.example")
        client.send(get("/goodbye?token=secret-1"))
        peer = backend.accept()
        peer.request()
        with client, contextlib.suppress(OSError):
            client.sock.setblocking(False)
            client.sock.unwrap()
        peer.send(answer())  # it may still be waiting for that
        assert daemon.logged(path="/goodbye")["status"] == 200


class TestNoTls:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (get(), "a plain HTTP request to a TLS port"),
            (bytes(range(256)), "TLS failed: wrong version number"),
            (b"\x16\x03\x01\x40\x00\x01", "the handshake took too long"),
        ],
    )
    def test_the_connection_ends_and_the_log_says_why(self, daemon, backend, data, reason):
        with daemon.connect("safe") as client:
            client.send(data)
            while not client.ended():
                pass
        entry = daemon.logged(event="handshake", ended=reason)
        assert (entry["by"], entry["status"], entry["backend"]) == ("client", 0, "")
        assert backend.untouched()

    def test_a_client_that_leaves_in_its_handshake(self, daemon):
        with daemon.connect("safe") as client:
            client.send(b"\x16\x03\x01")
        assert daemon.logged(ended="the client left during the TLS handshake")["by"] == "client"

    def test_a_client_that_does_not_trust_us(self, daemon):
        with pytest.raises(ssl.SSLCertVerificationError):
            daemon.connect("safe", ssl.create_default_context(), "ide.example")
        reason = "TLS failed: tlsv1 alert unknown ca"
        assert daemon.logged(event="handshake", ended=reason)["by"] == "client"
