"""PROXY headers: what is written is read back, and no other bytes get through or get anything but a refusal."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import ProxyError, Source
from balancer.http.proxy_protocol import ProxyHeader, parse, write

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def encode_v1(header: ProxyHeader) -> bytes:
    if header.source is None:
        return b"PROXY UNKNOWN\r\n"
    family = 6 if ":" in header.source else 4
    ends = f"{header.source} {header.destination} {header.source_port} {header.destination_port}"
    return f"PROXY TCP{family} {ends}\r\n".encode()


def encode_v2(header: ProxyHeader, tlvs: bytes = b"", command: int = 1, transport: int = 1) -> bytes:
    if header.source is None:
        family, block = 0, b""
    else:
        source, destination = ip_address(header.source), ip_address(header.destination)
        family = 1 if source.version == 4 else 2
        ports = header.source_port.to_bytes(2, "big") + header.destination_port.to_bytes(2, "big")
        block = source.packed + destination.packed + ports
    return SIGNATURE + bytes([0x20 | command, family << 4 | transport]) + v2_block(block + tlvs)


def v2_block(block: bytes) -> bytes:
    return len(block).to_bytes(2, "big") + block


ports = st.integers(0, 65535)
ip6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None).map(str)
headers = st.one_of(
    st.builds(ProxyHeader, st.ip_addresses(v=4).map(str), ports, st.ip_addresses(v=4).map(str), ports),
    st.builds(ProxyHeader, ip6, ports, ip6, ports),
    st.just(ProxyHeader()),
)
tlvs = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=3).map(
    lambda found: b"".join(bytes([kind]) + v2_block(value) for kind, value in found)
)
encoded = st.one_of(
    st.tuples(headers, headers.map(lambda _: b"")).map(lambda pair: (pair[0], encode_v1(pair[0]))),
    st.builds(
        lambda header, more, transport: (header, encode_v2(header, more, 1, transport)),
        headers,
        tlvs,
        st.sampled_from([1, 2]),
    ),
)


either = st.one_of(st.ip_addresses(v=4).map(str), ip6)


@given(st.one_of(headers, st.builds(ProxyHeader, either, ports, either, ports)), st.sampled_from(["v1", "v2"]))
def test_what_we_write_is_what_we_read(header, version):
    raw = write(header, version)
    assert parse(raw) == (header, len(raw))
    assert all(parse(raw[:length]) is None for length in range(len(raw)))


@given(headers)
def test_what_we_write_is_what_the_protocol_says(header):
    assert write(header, "v1") == encode_v1(header)
    if header.source is not None:
        assert write(header, "v2") == encode_v2(header)
    assert write(ProxyHeader(), "v2") == SIGNATURE + b"\x20\x00\x00\x00"


def test_zones_of_this_machine_stay_here():
    header = ProxyHeader("fe80::1%eth0", 1, "fe80::2%eth0", 2)
    assert write(header, "v1") == b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n"


@given(encoded, st.binary(max_size=20))
def test_round_trip(pair, after):
    header, raw = pair
    assert parse(raw + after) == (header, len(raw))
    for end in range(len(raw)):
        assert parse(raw[:end]) is None


@given(encoded, st.data())
def test_mutated_headers_are_read_or_refused_the_same_way_in_pieces(pair, data):
    _, raw = pair
    at = data.draw(st.integers(0, len(raw)))
    raw = raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]

    def outcome(pieces):
        received = b""
        try:
            for piece in pieces:
                received += piece
                if (found := parse(received)) is not None:
                    return found
        except ProxyError as error:
            return error.source, error.status
        return "incomplete"

    whole = outcome([raw])
    assert whole[0] is Source.CLIENT or isinstance(whole[0], ProxyHeader) or whole == "incomplete"
    assert outcome([raw[i : i + 1] for i in range(len(raw))]) == whole


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGNATURE, SIGNATURE + b"\x21"])
)
def test_garbage_gets_nothing_but_a_refusal(garbage, start):
    try:
        parse(start + garbage)
    except ProxyError as error:
        if (error.source, error.status) != (Source.CLIENT, 400):
            raise


def test_version_1_by_the_letter():
    longest = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"
    assert parse(longest) == (ProxyHeader(), len(longest))
    assert parse(b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n") == (ProxyHeader(), 107)
    line = b"PROXY TCP6 2001:DB8:0::1 ::ffff:192.0.2.1 0 65535\r\nGET"
    assert parse(line) == (ProxyHeader("2001:db8::1", 0, "192.0.2.1", 65535), len(line) - 3)


MALFORMED_LINES = [
    *(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r", b"PROXY\r\n", b"PROXY \r\n"),
    *(b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"),
    *(b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n"),
    *(b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n"),
    *(b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n"),
    *(b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n"),
    *(b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", b"PROXY TCP4 ::1 ::2 1 2\r\n"),
    *(
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
        b"PROXY TCP6 :::1 ::2 1 2\r\n",
    ),
    *(b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", b"proxy UNKNOWN\r\n"),
    *(b"PROXY UNKNOWNX\r\n", b"PROXY UNKNOWN \x00\r\n", b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n"),
    *(b"GET / HTTP/1.1\r\n", b"PROXY UNKNOWN\nGET"),
]


def refusal(raw: bytes):
    try:
        return parse(raw)
    except ProxyError as error:
        return error.source, error.status


def test_malformed_lines():
    outcomes = {line: refusal(line + b"GET / HTTP/1.1\r\n\r\n") for line in MALFORMED_LINES}
    assert outcomes == dict.fromkeys(MALFORMED_LINES, (Source.CLIENT, 400))


CLIENT = ProxyHeader("192.0.2.1", 1, "192.0.2.2", 2)


def test_version_2_without_addresses_to_use():
    for raw in (
        encode_v2(CLIENT, command=0),  # LOCAL
        encode_v2(CLIENT, transport=0),
        SIGNATURE + b"\x20\xff" + v2_block(b"anything"),  # LOCAL, "the family which is ignored"
        SIGNATURE + b"\x21\x00" + v2_block(b""),
        SIGNATURE + b"\x21\x31" + v2_block(bytes(216)),  # Unix sockets
    ):
        assert parse(raw + b"GET") == (ProxyHeader(), len(raw))


MALFORMED = [
    SIGNATURE + b"\x11\x11" + v2_block(bytes(12)),  # version 1
    SIGNATURE + b"\x31",  # version 3, refused before the rest comes
    SIGNATURE + b"\x22\x11" + v2_block(bytes(12)),  # command 2
    SIGNATURE + b"\x21\x41" + v2_block(bytes(12)),  # family 4
    SIGNATURE + b"\x21\x13" + v2_block(bytes(12)),  # transport 3
    SIGNATURE + b"\x21\x11" + v2_block(bytes(11)),
    SIGNATURE + b"\x21\x21" + v2_block(bytes(35)),
    SIGNATURE + b"\x21\x31" + v2_block(bytes(215)),
    SIGNATURE + b"\x21\x11\xff\xff",  # 64 KiB announced, refused before they come
    encode_v2(CLIENT, b"\x01"),
    encode_v2(CLIENT, b"\x01\x00"),
    encode_v2(CLIENT, b"\x01\x00\x01"),
    encode_v2(CLIENT, b"\x01\x00\x01xy"),
    encode_v2(CLIENT, b"\x01\xff\xffx"),
]


def test_malformed_version_2():
    assert {raw: refusal(raw) for raw in MALFORMED} == dict.fromkeys(MALFORMED, (Source.CLIENT, 400))
