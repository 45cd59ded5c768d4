"""Who is placed where by what: rules for tokens in a query, addresses and server names in mode tcp."""

import pytest
from harness import listener, pool
from wire import answer, get, reached

RULES = {
    "strict": {"max_length": 20},
    "by-address": {"missing": "client_ip"},
    "spread": {"missing": "spread"},
    "lax": {"duplicates": "first", "param": "t"},
    "decoding": {},
    "raw": {"decode": False},
}
HOSTS = 4


@pytest.fixture(scope="module")
def homes(hosts):
    return [hosts() for _ in range(HOSTS)]


@pytest.fixture
def backends(homes):
    yield homes
    for each in homes:
        each.forget()


@pytest.fixture(scope="module")
def daemon(start, homes, authority):
    tls = {"certificates": [authority.issue("ide.example", "*.users.example")]}
    behind = {"proxy_protocol": "accept", "trusted": ["127.0.0.0/8"]}
    listeners = [listener(name, pool=name, **behind) for name in RULES]
    listeners += [
        listener("address", mode="tcp", **behind),
        listener("names", mode="tcp", key="sni", **behind),
        listener("names-tls", mode="tcp", key="sni", tls=tls, **behind),
    ]
    pools = [pool(*homes, name=name, token=rule) for name, rule in RULES.items()]
    return start(listeners=listeners, pool=[*pools, pool(*homes)], timeouts={"handshake": "500ms"})


@pytest.fixture
def place(daemon, backends):
    """The index of the backend a request of its own connection reaches."""

    def place(rule, target, address="192.0.2.1"):
        with daemon.connect(rule) as client:
            client.send(f"PROXY TCP4 {address} 192.0.2.1 1 2\r\n".encode() + get(target, "Connection: close"))
            return serve(backends, client)

    return place


def serve(backends, client):
    number, peer = reached(backends)
    peer.request()
    peer.send(answer(b"", "Connection: close"))
    assert client.response().status == 200
    return number


class TestTokens:
    def test_one_token_one_host(self, place):
        places = {token: {place("strict", f"/{n}?a=b&token=secret-{token}") for n in range(3)} for token in range(12)}
        assert all(len(each) == 1 for each in places.values())
        assert len(set.union(*places.values())) > 1

    @pytest.mark.parametrize("target", ["/", "/?token=", "/?token", "/?Token=secret-1", "/?a=token=secret-1"])
    def test_none_is_refused(self, daemon, backends, target):
        with daemon.connect("strict") as client:
            response = client.ask(b"PROXY UNKNOWN\r\n" + get(target))
        assert (response.status, response.body) == (400, b"400 Bad Request: the token is missing\n")
        assert all(each.untouched() for each in backends)

    def test_none_is_placed_by_address(self, place):
        addresses = [f"192.0.2.{n}" for n in range(1, 13)]
        first = [place("by-address", "/", address) for address in addresses]
        assert first == [place("by-address", "/other", address) for address in addresses]
        assert len(set(first)) > 1

    def test_none_is_spread(self, place):
        assert {place("spread", "/") for _ in range(HOSTS)} == set(range(HOSTS))

    def test_too_long(self, daemon, backends):
        with daemon.connect("strict") as client:
            response = client.ask(b"PROXY UNKNOWN\r\n" + get("/?token=secret-" + "x" * 14))
        assert response.body == b"400 Bad Request: the token is too long\n"
        assert all(each.untouched() for each in backends)

    def test_different_ones_are_refused_and_equal_ones_are_not(self, daemon, backends, place):
        with daemon.connect("strict") as client:
            response = client.ask(b"PROXY UNKNOWN\r\n" + get("/?token=secret-1&token=secret-2"))
        assert response.status == 400
        assert b"secret" not in response.body
        assert all(each.untouched() for each in backends)
        assert place("strict", "/?token=secret-1&token=secret-1") == place("strict", "/?token=secret-1")

    def test_the_first_one_may_count(self, place):
        for n in range(6):
            assert place("lax", f"/?t=secret-{n}&t=secret-x") == place("lax", f"/?t=secret-{n}")

    def test_escapes_are_read_where_the_rule_says_so(self, place):
        plain = [place("decoding", f"/?token=secret-{n}") for n in range(8)]
        assert plain == [place("decoding", f"/?token=%73ecret%2d{n}") for n in range(8)]
        raw = [place("raw", f"/?token=%73ecret-{n}") for n in range(8)]
        assert raw != [place("raw", f"/?token=secret-{n}") for n in range(8)]

    def test_an_escape_that_is_none_stays_as_it_is(self, place):
        assert place("decoding", "/?token=secret-%zz") == place("decoding", "/?token=secret-%25zz")


class TestTcpMode:
    def test_by_address(self, daemon, backends):
        def place(address):
            with daemon.connect("address") as client:
                client.send(f"PROXY TCP4 {address} 192.0.2.1 1 2\r\n".encode() + b"hi")
                number, peer = reached(backends)
                assert peer.exactly(2) == b"hi"
                return number

        addresses = [f"192.0.2.{n}" for n in range(1, 13)]
        first = list(map(place, addresses))
        assert first == list(map(place, addresses))
        assert len(set(first)) > 1

    def test_by_server_name_of_tls_ended_here(self, daemon, backends, authority):
        context = authority.client()

        def place(name):
            with daemon.connect("names-tls") as client:
                client.send(b"PROXY UNKNOWN\r\n")
                client.sock = context.wrap_socket(client.sock, server_hostname=name)
                client.send(b"hi")
                number, peer = reached(backends)
                assert peer.exactly(2) == b"hi"
                return number

        assert_placed_by_name(place)

    def test_by_server_name_of_tls_passed_on(self, daemon, backends, authority):
        """The backend gets the ClientHello as it was sent, whether in one piece or byte by byte."""

        def place(name, whole=True):
            hello = authority.hello(name)
            with daemon.connect("names") as client:
                client.send(b"PROXY UNKNOWN\r\n")
                for piece in [hello] if whole else [bytes([each]) for each in hello]:
                    client.send(piece)
                number, peer = reached(backends)
                assert peer.exactly(len(hello)) == hello
                return number

        assert_placed_by_name(place)
        assert place("a.users.example") == place("a.users.example", whole=False)

    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00\x05\x02\0\0\0\0", b"\x16\x03\x01\x10"])
    def test_no_client_hello_no_backend(self, daemon, backends, data):
        with daemon.connect("names") as client:
            client.send(b"PROXY UNKNOWN\r\n" + data)
            assert client.ended()
        assert all(each.untouched() for each in backends)


def assert_placed_by_name(place):
    names = [f"{letter}.users.example" for letter in "abcdefghijkl"]
    first = list(map(place, names))
    assert first == [place(name.upper()) for name in names]
    assert len(set(first)) > 1
