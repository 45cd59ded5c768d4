"""TLS to backends: requests, tunnels and bytes, connections used again, and backends that are not who they say."""

import contextlib
import ssl

import pytest
from harness import listener, pool
from wire import Backend, answer, get

UPGRADE = ("Connection: Upgrade", "Upgrade: chat")
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def names():
    """Server names as the backends heard them, the latest last."""
    return []


@pytest.fixture(scope="module")
def homes(authority, names):
    contexts = {
        "1.2": authority.server("hosts.example", version=VERSIONS["1.2"]),
        "1.3": authority.server("hosts.example", version=VERSIONS["1.3"]),
        "asking": authority.server("hosts.example", asks=True),
        "other": authority.server("other.example"),
    }
    for context in contexts.values():
        context.sni_callback = lambda _, name, __: names.append(name)
    made = {name: Backend(context) for name, context in contexts.items()}
    made["plain"] = Backend()
    yield made
    for each in made.values():
        each.close()


@pytest.fixture(autouse=True)
def forget(homes):
    yield
    for each in homes.values():
        each.forget()


@pytest.fixture(scope="module")
def vanishing(tmp_path_factory, authority):
    """A copy of the authority's certificate, to be deleted."""
    path = tmp_path_factory.mktemp("vanishing") / "authority.pem"
    path.write_bytes(authority.file.read_bytes())
    return path


@pytest.fixture(scope="module")
def daemon(start, homes, authority, vanishing):
    tls = {"enabled": True, "ca_file": str(authority.file), "server_name": "hosts.example"}
    pair = authority.issue("balancer.example")
    pools = {
        "1.2": pool(homes["1.2"], tls=tls),
        "1.3": pool(homes["1.3"], tls=tls),
        "asking": pool(homes["asking"], tls={**tls, **pair}),
        "no-certificate": pool(homes["asking"], tls=tls, retry={"count": 0}),
        "other": pool(homes["other"], tls=tls),
        "renamed": pool(homes["other"], tls=tls),
        "anybody": pool(homes["other"], tls={"enabled": True, "verify": False}),
        "plain": pool(homes["plain"], tls=tls),
        "vanishing": pool(homes["plain"], tls={**tls, "ca_file": str(vanishing)}),
    }
    pools["renamed"]["backend"][0]["server_name"] = "other.example"
    listeners = [listener(name, pool=name) for name in pools]
    listeners += [listener(f"raw-{name}", mode="tcp", pool=name) for name in VERSIONS]
    return start(
        listeners=listeners,
        pool=[{**each, "name": name} for name, each in pools.items()],
        timeouts={"connect": "500ms"},
    )


both = pytest.mark.parametrize("version", VERSIONS)


def served(client, peer, *lines):
    client.send(get("/?token=secret-1", *lines))
    request = peer.request()
    peer.send(answer(b"hello"))
    assert client.response().body == b"hello"
    return request


def part(peer):
    """Close with a ``close_notify``, and do not wait for the other one."""
    peer.sock.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.sock.unwrap()
    peer.close()


@both
def test_requests_share_a_connection(daemon, homes, names, version):
    with daemon.connect(version) as client:
        client.send(get())
        peer = homes[version].accept()
        assert peer.request()["x-forwarded-proto"] == "http"
        peer.send(answer(b"hello"))
        assert client.response().body == b"hello"
        assert peer.sock.selected_alpn_protocol() == "http/1.1"
        assert peer.sock.version() == f"TLSv{version}"
        assert names[-1] == "hosts.example"
        served(client, peer)
    with daemon.connect(version) as another:
        served(another, peer)
    assert homes[version].untouched()


@both
def test_large_bodies_both_ways(daemon, homes, version):
    body = bytes(range(256)) * 4096
    with daemon.connect(version) as client:
        client.send(get("/?token=secret-1", f"Content-Length: {len(body)}", method="POST"))
        peer = homes[version].accept()
        request = peer.head()
        for at in range(0, len(body), 65536):
            client.send(body[at : at + 65536])
            assert peer.exactly(65536) == body[at : at + 65536]
        assert request["content-length"] == str(len(body))
        peer.send(answer(body))
        assert client.response().body == body


@both
def test_a_tunnel(daemon, homes, version):
    with daemon.connect(version) as client:
        client.send(get("/?token=secret-1", *UPGRADE))
        peer = homes[version].accept()
        peer.request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nfirst")
        assert client.head().status == 101
        assert client.exactly(5) == b"first"
        client.send(b"ping")
        assert peer.exactly(4) == b"ping"
        peer.send(b"pong")
        assert client.exactly(4) == b"pong"
        part(peer)
        assert client.more() == b""


@both
def test_bytes_of_tcp_mode(daemon, homes, version):
    with daemon.connect(f"raw-{version}") as client:
        peer = homes[version].accept()
        peer.send(b"the server speaks first")
        assert client.exactly(23) == b"the server speaks first"
        client.send(b"\0\xff")
        assert peer.exactly(2) == b"\0\xff"
        client.end()
        assert peer.more() == b""  # in order, by close_notify
        peer.send(b"last words")
        peer.close()
        assert client.exactly(10) == b"last words"


@both
def test_a_connection_after_the_first_is_resumed(daemon, homes, version):
    resumed = []
    for _ in range(3):
        with daemon.connect(version) as client:
            client.send(get())
            peer = homes[version].accept()
            peer.request()
            peer.send(answer(b"", "Connection: close"))
            assert client.response().status == 200
            resumed.append(peer.sock.session_reused)
    assert resumed[1:] == [True, True]


@both
def test_a_backend_that_closes_an_idle_connection_is_dialled_again(daemon, homes, version):
    with daemon.connect(version) as client:
        client.send(get())
        peer = homes[version].accept()
        peer.request()
        peer.send(answer())
        assert client.response().status == 200
        part(peer)
        client.send(get())
        peer = homes[version].accept()
        peer.request()
        peer.send(answer(b"again"))
        assert client.response().body == b"again"


def test_our_own_certificate(daemon, homes):
    with daemon.connect("asking") as client:
        client.send(get())
        peer = homes["asking"].accept()
        served_name = dict(each[0] for each in peer.sock.getpeercert()["subject"])["commonName"]
        peer.request()
        peer.send(answer())
        assert client.response().status == 200
    assert served_name == "balancer.example"


@pytest.mark.parametrize("name", ["renamed", "anybody"])
def test_a_name_of_its_own_and_no_questions_asked(daemon, homes, name):
    with daemon.connect(name) as client:
        client.send(get())
        peer = homes["other"].accept()
        peer.request()
        peer.send(answer())
        assert client.response().status == 200


def test_a_backend_of_another_name_gets_nothing(daemon, homes):
    with daemon.connect("other") as client:
        client.send(get())
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            homes["other"].accept().head()
        assert client.response().status == 503
    line = daemon.stderr.wait_for(lambda line: "host-0" in line and "TLS failed" in line)
    assert "certificate verify failed: Hostname mismatch" in line


def test_certificates_are_read_at_the_start_and_not_again(daemon, homes, vanishing):
    vanishing.unlink()
    with daemon.connect("vanishing") as client:
        client.send(get())
        assert homes["plain"].accept().exactly(2) == b"\x16\x03", "a ClientHello, though the file is gone"
        assert client.response().status == 503


def test_a_backend_that_speaks_no_tls(daemon, homes):
    with daemon.connect("plain") as client:
        client.send(get())
        peer = homes["plain"].accept()
        assert peer.exactly(2) == b"\x16\x03"
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert client.response().status == 503


def test_a_backend_that_never_answers_the_handshake(daemon, homes):
    with daemon.connect("plain") as client:
        client.send(get())
        homes["plain"].accept()
        assert client.response().status == 503


def test_a_backend_that_wants_a_certificate_we_do_not_have(daemon, homes):
    with daemon.connect("no-certificate") as client:
        client.send(get())
        with pytest.raises((ssl.SSLError, ConnectionError)):
            homes["asking"].accept()
        assert client.response().status in (502, 503)
