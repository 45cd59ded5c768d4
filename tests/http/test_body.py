"""Chunked bodies: the same result however the bytes are cut, h11's result, and nothing lenient."""

import time
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import ProxyError, Source
from balancer.http import body


def outcome(pieces: list[bytes], source: Source = Source.CLIENT, *, framed: bool = False):
    """Everything a decoder tells about the pieces."""
    decoder = body.Chunked(source, framed=framed)
    decoded = b""
    try:
        for piece in pieces:
            decoded += decoder.feed(piece)
    except ProxyError as error:
        return error.source, error.status
    return decoded, decoder.done, decoder.trailers, decoder.rest


def by_h11(raw: bytes):
    """Data, completeness and rest as h11 sees them, or None if it refuses the body."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
    data = b""
    try:
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Data):
                data += event.data
            if isinstance(event, h11.EndOfMessage):
                return data, True, connection.trailing_data[0]
    except h11.RemoteProtocolError:
        return None
    return data, False, b""


chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
extensions = st.sampled_from([b"", b"", b";a", b';a=b;c="d"', b"; x"])
sizes = st.sampled_from([b"%x", b"%X", b"0%x"])
trailers = st.sampled_from([b"", b"", b"A: b\r\n", b"A: b\r\nx-c:d\r\n", b"Host: x\r\nA: b\r\n"])


@st.composite
def bodies(draw):
    raw = b""
    for data in draw(chunks):
        raw += draw(sizes) % len(data) + draw(extensions) + b"\r\n" + data + b"\r\n"
    return raw + b"0" + draw(extensions) + b"\r\n" + draw(trailers) + b"\r\n" + draw(st.sampled_from([b"", b"GET /"]))


@st.composite
def mutated(draw):
    raw = draw(bodies())
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        at = draw(st.integers(0, len(raw)))
        patch = draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"+", b"0x", b";", b"\0", b"0", b"f", b":"]))
        raw = raw[:at] + patch + raw[at + draw(st.integers(0, 2)) :]
    return raw


def split_at(raw: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


def test_what_comes_after_the_end_is_no_body():
    """Its last chunk came in two pieces, and more after the end."""
    assert outcome([b"5\r\nhel", b"lo\r\n0\r\n\r\nG", b"E"]) == (b"hello", True, b"", b"GE")


@given(mutated(), st.data())
def test_whole_or_in_pieces(raw, data):
    whole = outcome([raw])
    assert outcome([raw[i : i + 1] for i in range(len(raw))]) == whole
    cuts = data.draw(st.sets(st.integers(0, len(raw)), max_size=6))
    assert outcome(split_at(raw, cuts)) == whole


@given(mutated())
def test_what_is_accepted_h11_accepts_alike(raw):
    found = outcome([raw])
    if found[0] is Source.CLIENT:
        assert found == (Source.CLIENT, 400)
        return
    decoded, done, _, rest = found
    assert by_h11(raw) == (decoded, done, rest)


@given(mutated(), st.data())
def test_chunks_that_go_on_say_what_came_in(raw, data):
    """Whatever is accepted comes out in strict chunks, with the same body and trailers, however it came."""
    whole = outcome([raw], Source.BACKEND)
    cuts = data.draw(st.sets(st.integers(0, len(raw)), max_size=6))
    framed = outcome(split_at(raw, cuts), Source.BACKEND, framed=True)
    if whole[0] is Source.BACKEND:
        assert framed == whole
        return
    passed_on, *others = framed
    assert others == list(whole[1:])
    decoded, done, found, rest = outcome([passed_on])
    assert whole[0].startswith(decoded)
    assert (decoded, done, found, rest) == (*whole[:3], b"") or not done
    assert by_h11(passed_on)[0] == whole[0]


@pytest.mark.parametrize(
    ("raw", "passed_on"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"1\r\na\r\n002\r\nbc\r\n0\r\n\r\nHTTP", b"1\r\na\r\n002\r\nbc\r\n0\r\n\r\n"),
        (b"1;x=y\r\na\r\n1;z\r\nb\r\n0;end\r\n\r\n", b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
        (b"0\r\nHost: x\r\nA: b\r\n\r\n", b"0\r\nA: b\r\n\r\n"),
        (b"5\r\nhel", b"5\r\nhel"),
        (b"5\r\nhello\r\n1", b"5\r\nhello\r\n"),
    ],
)
def test_chunks_go_on_as_they_came_without_extensions(raw, passed_on):
    assert outcome([raw], Source.BACKEND, framed=True)[0] == passed_on
    assert outcome([raw[i : i + 1] for i in range(len(raw))], Source.BACKEND, framed=True)[0] == passed_on


@given(chunks)
def test_round_trip(parts):
    raw = b"".join(map(body.chunk, parts)) + body.LAST_CHUNK
    assert outcome([raw]) == (b"".join(parts), True, b"", b"")
    assert by_h11(raw) == (b"".join(parts), True, b"")


def test_no_data_is_no_chunk():
    assert body.chunk(b"") == b""
    assert body.last_chunk(b"") == body.LAST_CHUNK
    assert body.last_chunk(b"A: b\r\n") == b"0\r\nA: b\r\n\r\n"


MALFORMED = [
    *(b"\r\n", b" 5\r\nhello", b"5 5\r\nhello", b"5 \n", b"+5\r\nhello", b"-5\r\nhello", b"0x5\r\nhello"),
    *(b"5\nhello\r\n", b"5\rhello", b"g\r\n", b"5_0\r\n", b";a\r\n", b"5,\r\n", b"\xd9\xa5\r\n", b"5\x00\r\n"),
    *(
        b"00000000000000005\r\nhello",
        b"5\r\nhelloworld",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n",
        b"5\r\nhello0\r\n",
    ),
    *(b"5;" + b"a" * 256 + b"\r\nhello", b"5;a\x00\r\nhello", b"5;a\nb\r\nhello", b"5;a\rb\r\nhello"),
    *(
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\n\r\n\r\n",
        b"0\r\nA: b\n\n",
        b"0\r\nA: b\rc",
        b"0\r\n\n",
    ),
    *(
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA:" + b"b" * 8192 + b"\r\n\r\n",
        b"0\r\nA:" + b"b" * 9000,
    ),
]


@pytest.mark.parametrize(("source", "status"), [(Source.CLIENT, 400), (Source.BACKEND, 502)])
def test_malformed_bodies_are_refused(source, status):
    for raw in MALFORMED:
        for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
            assert outcome(pieces, source) == (source, status), raw


PADDED = [
    b"5 \r\nhello\r\n0\t \r\n\r\n",
    b"5" + b" " * 255 + b"\r\nhello\r\n0\r\n\r\n",
    b"5\t;a\r\nhello\r\n0 ;b\r\n\r\n",
]


def test_padded_sizes_are_put_right_where_a_backend_sent_them():
    for raw in PADDED:
        for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
            assert outcome(pieces, Source.BACKEND) == (b"hello", True, b"", b"")
            assert outcome(pieces, Source.BACKEND, framed=True) == (b"5\r\nhello\r\n0\r\n\r\n", True, b"", b"")
            assert outcome(pieces) == (Source.CLIENT, 400)
    assert outcome([b"5" + b" " * 256 + b"\r\nhello"], Source.BACKEND) == (Source.BACKEND, 502)


def test_limits_are_exact():
    assert outcome([b"000000000000000A;" + b"a" * 255 + b"\r\n0123456789\r\n"])[0] == b"0123456789"
    longest = b"A:" + b"b" * (8192 - 4) + b"\r\n"
    for pieces in (
        [b"0\r\n" + longest + b"\r\n"],
        [b"0\r\n", *(longest[i : i + 1] for i in range(8192)), b"\r", b"\n"],
    ):
        assert outcome(pieces) == (b"", True, longest, b"")
    for more in (b"x", b"xy", b"xyz"):
        assert outcome([b"0\r\nA:" + more + longest[2:] + b"\r\n"]) == (Source.CLIENT, 400)


def test_trailers_that_would_change_a_message_are_dropped():
    dropped = [
        *(b"Content-Length: 5", b"transfer-encoding: chunked", b"Host: x", b"Connection: close", b"Upgrade: h2c"),
        *(b"Keep-Alive: 5", b"TE: x", b"X-Forwarded-For: 1", b"X_Forwarded_For: 1", b"Forwarded: for=1", b"Expect: x"),
    ]
    raw = b"0\r\nA: b\r\n" + b"\r\n".join(dropped) + b"\r\nGrpc-Status: 0\r\n\r\nGET"
    assert outcome([raw]) == (b"", True, b"A: b\r\nGrpc-Status: 0\r\n", b"GET")
    assert outcome([b"0\r\nHost: x\r\n\r\n"]) == (b"", True, b"", b"")


def test_bytes_after_the_end_are_left():
    assert outcome([b"0\r\n\r\nGET", b" / "]) == (b"", True, b"", b"GET / ")


def test_an_unfinished_body_is_not_done():
    for raw in (b"", b"5", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"0\r\nA: b\r\n"):
        assert outcome([raw])[1] is False


def test_data_inside_a_chunk_is_not_copied():
    decoder = body.Chunked(Source.BACKEND)
    decoder.feed(b"100000\r\n")
    data = bytes(262144)
    assert decoder.feed(data) is data


def test_time_is_linear():
    """Quadratic work on a megabyte takes minutes; linear work some tenths of a second even for the smallest chunks."""
    begun = time.process_time()
    outcome([body.chunk(b"x") * 150_000])
    outcome([body.chunk(bytes(65536)) * 16])
    outcome([b"5;" + b"a" * (1 << 20)])
    outcome([b"0\r\n" + b"a:\r\n" * 250_000])
    assert time.process_time() - begun < 2
