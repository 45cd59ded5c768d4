"""PROXY headers to backends: every client in connections of its own, in the words that haproxy understands."""

from pathlib import Path

import pytest
from harness import listener, pool
from others import Other
from wire import answer, get

from balancer.http.proxy_protocol import ProxyHeader, parse

BEHIND = {"proxy_protocol": "accept", "trusted": ["127.0.0.0/8"]}
VERSIONS = ["v1", "v2"]
SAID = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"


@pytest.fixture(scope="module")
def homes(hosts, authority):
    return {version: hosts() for version in VERSIONS}


@pytest.fixture
def backends(homes):
    yield homes
    for each in homes.values():
        each.forget()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("haproxy")


@pytest.fixture(scope="module")
def daemon(start, homes, authority, folder):
    tls = {"enabled": True, "ca_file": str(authority.file), "server_name": "hosts.example"}
    pools = {version: pool(homes[version], name=version, send_proxy=version) for version in VERSIONS}
    for version in VERSIONS:
        name = f"haproxy-{version}"
        pools[name] = pool(f"unix:{folder}/socket", name=name, send_proxy=version, tls=tls)
    listeners = [listener(name, pool=name) for name in pools]
    listeners += [listener(f"behind-{name}", pool=name, **BEHIND) for name in pools]
    listeners += [listener(f"raw-{version}", mode="tcp", pool=version) for version in VERSIONS]
    return start(listeners=listeners, pool=list(pools.values()))


@pytest.fixture(scope="module")
def haproxy(folder, authority):
    """A real one, reached over TLS, that says whom it takes for the client."""
    pair = authority.issue("hosts.example")
    (folder / "both.pem").write_bytes(b"".join(Path(pair[part]).read_bytes() for part in ("cert", "key")))
    config = (
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        f"frontend f\n bind unix@{folder}/socket accept-proxy ssl crt {folder}/both.pem\n"
        ' http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"\n'
    )
    other = Other(folder, ["haproxy", "-db", "-f"], config)
    other.connect("socket").close()
    yield
    other.close()


def introduced(peer):
    """What the backend is told; the bytes after it stay to be read."""
    while (parsed := parse(peer.held)) is None:
        peer.held += peer.sock.recv(65536)
    header, end = parsed
    peer.held = peer.held[end:]
    return header


def ends(client):
    return ProxyHeader(*client.sock.getsockname(), *client.sock.getpeername())


def serve(client, peer):
    request = peer.request()
    peer.send(answer(b"hello"))
    assert client.response().body == b"hello"
    return request


both = pytest.mark.parametrize("version", VERSIONS)


@both
def test_a_connection_carries_one_client(daemon, backends, version):
    with daemon.connect(version) as one, daemon.connect(version) as two:
        one.send(get())
        first = backends[version].accept()
        assert introduced(first) == ends(one)
        serve(one, first)
        two.send(get())
        second = backends[version].accept()
        assert introduced(second) == ends(two)
        serve(two, second)
        one.send(get())  # the same user again, on the connection it had
        serve(one, first)
        assert backends[version].untouched()
    assert first.ended()
    assert second.ended()


@both
def test_what_a_proxy_in_front_has_told_is_passed_on(daemon, backends, version):
    with daemon.connect(f"behind-{version}") as client:
        client.send(SAID + get())
        peer = backends[version].accept()
        assert introduced(peer) == ProxyHeader("2001:db8::7", 4711, "2001:db8::1", 443)
        assert serve(client, peer)["x-forwarded-for"] == "2001:db8::7"


@both
def test_a_request_that_cannot_be_sent_on_a_kept_connection_is_introduced_anew(daemon, backends, version):
    with daemon.connect(version) as client:
        client.send(get())
        peer = backends[version].accept()
        assert introduced(peer) == ends(client)
        serve(client, peer)
        peer.close()
        client.send(get())
        peer = backends[version].accept()
        assert introduced(peer) == ends(client)
        serve(client, peer)


@both
def test_tcp_mode(daemon, backends, version):
    with daemon.connect(f"raw-{version}") as client:
        peer = backends[version].accept()
        assert introduced(peer) == ends(client)
        client.send(b"hi")
        assert peer.exactly(2) == b"hi"
        peer.close()


@both
def test_haproxy_understands_it_ahead_of_tls(daemon, haproxy, version):
    with daemon.connect(f"behind-haproxy-{version}") as client:
        assert client.ask(SAID + get()).body == b"2001:db8::7 4711 2001:db8::1 443"
    with daemon.connect(f"haproxy-{version}") as client:
        asked, port = client.ask(get()).body.decode(), daemon.ports[f"haproxy-{version}"][0]
        assert asked == f"127.0.0.1 {client.sock.getsockname()[1]} 127.0.0.1 {port}"
