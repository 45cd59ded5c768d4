"""The server name of real ClientHellos, however they are cut, and of nothing else."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import ProxyError, Source
from balancer.http.client_hello import protocols, server_name


def hello(name: str | None, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = maximum
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


NAMED = hello("IDE.example.org")
MESSAGE = NAMED[5:]


def records(message: bytes, size: int) -> bytes:
    """``message`` in handshake records of ``size`` bytes."""
    pieces = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def with_extensions(extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + extensions
    return records(b"\x01" + len(body).to_bytes(3, "big") + body, 16384)


def sized(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def named(*names: bytes, kind: int = 0) -> bytes:
    listed = b"".join(bytes([kind]) + sized(2, name) for name in names)
    return b"\x00\x00" + sized(2, sized(2, listed))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_real_hellos(version):
    assert server_name(hello("ide.example.org", version)) == "ide.example.org"
    assert server_name(hello("xn--bcher-kva.example", version) + b"more") == "xn--bcher-kva.example"
    assert server_name(hello(None, version)) == ""


def test_names_are_lower_case():
    assert server_name(NAMED) == "ide.example.org"


def test_every_beginning_needs_more():
    assert {server_name(NAMED[:end]) for end in range(len(NAMED))} == {None}


@given(st.integers(len(MESSAGE) // 32 + 1, len(MESSAGE)))
def test_fragmented(size):
    raw = records(MESSAGE, size)
    assert server_name(raw) == "ide.example.org"
    assert server_name(raw[:-1]) is None


def alpn(*names):
    return b"\x00\x10" + sized(2, sized(2, b"".join(sized(1, name) for name in names)))


def test_protocols():
    assert protocols(with_extensions(b"")) == []
    assert protocols(NAMED[:-1]) is None
    assert protocols(with_extensions(sized(2, named(b"a") + alpn(b"h2", b"http/1.1")))) == [b"h2", b"http/1.1"]
    with pytest.raises(ProxyError):
        protocols(with_extensions(sized(2, alpn(b"h2")[:-1])))


def test_what_follows_the_hello_is_left_alone():
    assert server_name(records(MESSAGE + b"\x00", 16384)) == "ide.example.org"


def test_extensions_are_optional():
    assert server_name(with_extensions(b"")) == ""
    assert server_name(with_extensions(sized(2, b""))) == ""
    assert server_name(with_extensions(sized(2, named(b"A.example")))) == "a.example"


REFUSED = [
    b"GET / HTTP/1.1\r\n",
    b"\x15\x03\x01\x00\x02\x01\x00",  # an alert
    b"\x16\x02\x00\x00\x02\x01\x00",
    b"\x80\x2e\x01\x03\x01",  # SSL 2.0
    b"\x16\x03\x01\x00\x00",
    b"\x16\x03\x01\x40\x01",
    b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
    b"\x16\x03\x01\x00\x04\x01\x00\x40\x01",  # 16 KiB and a byte announced
    b"\x16\x03\x01\x00\x04\x01\x01\x00\x00",  # 64 KiB announced
    records(MESSAGE, 8),  # too many pieces
    records(b"\x01\x00\x00\x05" + bytes(5), 9),
    records(b"\x01\x00\x00\x00", 4),
    records(MESSAGE, 100).replace(b"\x16\x03\x01", b"\x17\x03\x01").replace(b"\x17\x03\x01", b"\x16\x03\x01", 1),
    with_extensions(b"\x00"),
    with_extensions(sized(2, b"") + b"x"),
    with_extensions(sized(2, b"\x00")),
    with_extensions(sized(2, named(b"a") + named(b"a"))),
    with_extensions(sized(2, named(b"a", b"b"))),
    with_extensions(sized(2, named(b"a", kind=1))),
    with_extensions(sized(2, named())),
    with_extensions(sized(2, named(b""))),
    with_extensions(sized(2, named(b"a b"))),
    with_extensions(sized(2, named(b"a\x00b"))),
    with_extensions(sized(2, named(b"a..b"))),
    with_extensions(sized(2, named(b"\xe4"))),
    with_extensions(sized(2, named(b"a" * 256))),
    with_extensions(sized(2, named(b"a")[:-1])),
]


def outcome(raw: bytes):
    try:
        return server_name(raw)
    except ProxyError as error:
        return error.source, error.status


def test_refused():
    assert {raw: outcome(raw) for raw in REFUSED} == dict.fromkeys(REFUSED, (Source.CLIENT, 400))


@given(st.integers(0, len(NAMED)), st.binary(max_size=4), st.integers(0, 4))
def test_mutated_hellos_are_read_or_refused(at, patch, cut):
    name = outcome(NAMED[:at] + patch + NAMED[at + cut :])
    if isinstance(name, str):
        assert name.isascii()
        assert name == name.lower()
        assert len(name) <= 255
    else:
        assert name in (None, (Source.CLIENT, 400))
