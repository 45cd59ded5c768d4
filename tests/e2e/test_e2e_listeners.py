"""Listeners: several addresses, both families, both modes with and without TLS, and PROXY headers before all of it."""

import socket
import ssl

import pytest
from harness import listener, pool
from wire import answer, get

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"
V1_IPV6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"
V1_UNKNOWN = b"PROXY UNKNOWN\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source, destination, command=1, family=1, tlvs=b""):
    kind = socket.AF_INET if family == 1 else socket.AF_INET6
    block = socket.inet_pton(kind, source) + socket.inet_pton(kind, destination) + b"\x12\x67\x01\xbb" + tlvs
    return SIGNATURE + bytes([0x20 | command, family << 4 | 1]) + len(block).to_bytes(2, "big") + block


HEADERS = {
    "v1": (V1, "192.0.2.7"),
    "v1 over IPv6": (V1_IPV6, "2001:db8::7"),
    "v1 unknown": (V1_UNKNOWN, "127.0.0.1"),
    "v2": (v2("192.0.2.7", "192.0.2.1"), "192.0.2.7"),
    "v2 over IPv6": (v2("2001:db8::7", "2001:db8::1", family=2), "2001:db8::7"),
    "v2 with TLVs": (v2("192.0.2.7", "192.0.2.1", tlvs=b"\x02\x00\x03abc"), "192.0.2.7"),
    "v2 local": (v2("192.0.2.7", "192.0.2.1", command=0), "127.0.0.1"),
}


@pytest.fixture(scope="module")
def tls(authority):
    return {"certificates": [authority.issue("ide.example")]}


@pytest.fixture(scope="module")
def daemon(start, home, tls):
    behind = {"proxy_protocol": "accept", "trusted": ["127.0.0.0/8"]}
    listeners = [
        listener("many", bind=["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]),
        listener("raw", mode="tcp"),
        listener("raw-tls", mode="tcp", tls=tls),
        listener("behind", **behind),
        listener("behind-tls", tls=tls, **behind),
        listener("behind-raw", mode="tcp", **behind),
        listener("behind-others", proxy_protocol="accept", trusted=["192.0.2.0/24"]),
    ]
    return start(listeners=listeners, pool=[pool(home)], timeouts={"handshake": "500ms"})


@pytest.mark.parametrize(("nth", "host"), list(enumerate(["127.0.0.1", "127.0.0.2", "::1"])))
def test_every_address_serves(daemon, backend, nth, host):
    with daemon.connect("many", nth=nth, host=host) as client:
        client.send(get(f"/at{nth}?token=secret-1"))
        peer = backend.accept()
        assert peer.request()["x-forwarded-for"] == ("::1" if host == "::1" else "127.0.0.1")
        peer.send(answer(b"here"))
        assert client.response().body == b"here"
    assert daemon.logged(path=f"/at{nth}")["listener"] == "many"


@pytest.mark.parametrize("name", ["raw", "raw-tls"])
def test_tcp_mode_passes_bytes_and_half_closes(daemon, backend, authority, name):
    context = authority.client() if name == "raw-tls" else None
    with daemon.connect(name, context, "ide.example") as client:
        client.send(b"\0\xff not HTTP")
        peer = backend.accept()
        assert peer.exactly(11) == b"\0\xff not HTTP"
        peer.send(b"nor this")
        peer.end()
        assert client.exactly(8) == b"nor this"
        assert client.more() == b""
        if context is None:  # OpenSSL's own sockets cannot half-close: see the last test
            client.send(b"still heard")
            assert peer.exactly(11) == b"still heard"
    assert peer.ended()
    opened, closed = (daemon.logged(listener=name, event=event) for event in ("open", "close"))
    assert (closed["ended"], closed["by"]) == ("closed", "backend")
    assert (closed["bytes_in"], closed["bytes_out"]) == (22 if context is None else 11, 8)
    assert opened["backend"] == closed["backend"] == "host-0"


class TestProxyHeaders:
    @pytest.mark.parametrize(("header", "address"), list(HEADERS.values()), ids=list(HEADERS))
    @pytest.mark.parametrize("name", ["behind", "behind-tls"])
    def test_the_client_is_who_the_header_says(self, daemon, backend, authority, name, header, address):
        path = f"/{name}/{address}/{len(header)}"
        with daemon.connect(name) as client:
            client.send(header)
            if name == "behind-tls":
                client.sock = authority.client().wrap_socket(client.sock, server_hostname="ide.example")
            client.send(get(path + "?token=secret-1"))
            peer = backend.accept()
            assert peer.request()["x-forwarded-for"] == address
            peer.send(answer())
            assert client.response().status == 200
        assert daemon.logged(path=path)["client"] == address

    @pytest.mark.parametrize("header", [V1, v2("192.0.2.7", "192.0.2.1")], ids=["v1", "v2"])
    def test_in_one_piece_with_what_follows_or_byte_by_byte(self, daemon, backend, header):
        for pieces in [[header + b"hello"], [bytes([each]) for each in header + b"hello"]]:
            with daemon.connect("behind-raw") as client:
                for piece in pieces:
                    client.send(piece)
                assert backend.accept().exactly(5) == b"hello"

    @pytest.mark.parametrize(
        ("received", "chain"),
        [
            ("192.0.2.7", "192.0.2.7, 127.0.0.1"),
            ("9.9.9.9, 192.0.2.7", "9.9.9.9, 192.0.2.7, 127.0.0.1"),
            ("9.9.9.9", "9.9.9.9, 192.0.2.7"),
        ],
    )
    def test_trust_is_that_of_the_peer(self, daemon, backend, received, chain):
        fields = f"X-Forwarded-For: {received}", "X-Forwarded-Proto: https", "X-Request-ID: from-the-super"
        with daemon.connect("behind") as client:
            client.send(V1 + get("/?token=secret-1", *fields))
            peer = backend.accept()
            request = peer.request()
            assert request["x-forwarded-for"] == chain
            assert request["x-forwarded-proto"] == "https"
            assert request["x-request-id"] == "from-the-super"
            peer.send(answer())
            assert client.response().status == 200

    def test_a_peer_that_introduces_itself_is_named_once(self, daemon, backend):
        with daemon.connect("behind") as client:
            client.send(V1.replace(b"192.0.2.7", b"127.0.0.1") + get("/?token=secret-1", "X-Forwarded-For: 127.0.0.1"))
            peer = backend.accept()
            assert peer.request()["x-forwarded-for"] == "127.0.0.1"
            peer.send(answer())
            assert client.response().status == 200

    def test_strangers_headers_are_no_requests(self, daemon, backend):
        for header in V1, v2("192.0.2.7", "192.0.2.1"):
            with daemon.connect("behind-others") as client:
                assert client.ask(header + get()).status == 400
                assert client.ended()
        assert backend.untouched()

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (get(), "no PROXY header"),
            (b"PROXY TCP4 1.2.3.4\r\n", "a malformed PROXY line"),
            (SIGNATURE + b"\x31\x11\0\0", "a PROXY header of an unknown version or command"),
            (b"PROXY TCP4 ", "the handshake took too long"),
        ],
    )
    def test_trusted_nonsense_ends_the_connection(self, daemon, backend, data, reason):
        with daemon.connect("behind") as client:
            client.send(data)
            assert client.ended()
        assert daemon.logged(event="handshake", ended=reason)["by"] == "client"
        assert backend.untouched()


def test_half_a_close_over_tls(daemon, backend, authority):
    """The backend ends first; what the client says after that still arrives, and its end does too."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="ide.example")
    with daemon.connect("raw-tls") as client:

        def told(step, *arguments):
            while True:
                try:
                    return step(*arguments)
                except ssl.SSLWantReadError:
                    client.send(outgoing.read())
                    incoming.write(client.more())

        told(tls.do_handshake)
        client.send(outgoing.read())
        peer = backend.accept()
        peer.send(b"last words")
        peer.end()
        assert told(tls.read, 100) == b"last words"
        assert told(tls.read, 100) == b""
        for _ in range(3):
            tls.write(b"more")
            client.send(outgoing.read())
            assert peer.exactly(4) == b"more"
        tls.unwrap()
        client.send(outgoing.read())
        assert peer.ended()
