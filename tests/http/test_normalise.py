"""Heads, by hypothesis: what the reader accepts h11 accepts alike, however the bytes come and in linear time."""

import time
from urllib.parse import urlsplit

import h11
import pytest
from attributes import attributes
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import ProxyError, Source
from balancer.http import head, normalise
from balancer.http.head import CHUNKED, UNTIL_CLOSE


def head_outcome(find, parse, pieces):
    """Feed pieces to ``find`` as a connection does; what comes out of the head that is found."""
    buffer = bytearray()
    try:
        for piece in pieces:
            start = len(buffer)
            buffer += piece
            if (end := find(buffer, start)) >= 0:
                message = parse(bytes(buffer[:end]))
                return attributes(message)
    except ProxyError as error:
        return error.source
    return "incomplete"


HOSTILE = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"\0", b"\x0b", b"\x80", b",", b"5", b"+", b"#", b"\n\n"]
)


@st.composite
def mutated(draw, heads):
    raw = draw(heads)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3]))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.one_of(HOSTILE, st.binary(max_size=2))) + raw[at + draw(st.integers(0, 2)) :]
    return raw


name = st.one_of(
    st.sampled_from(
        [
            *(b"Host", b"Connection", b"Content-Length", b"Transfer-Encoding", b"Upgrade", b"TE", b"Expect", b"Cookie"),
            *(b"Keep-Alive", b"X-Forwarded-For", b"x_forwarded_for", b"X-Request-ID", b"Accept", b"Forwarded", b"x-a"),
        ]
    ),
    st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}", fullmatch=True),
)
value = st.one_of(
    st.sampled_from(
        [
            *(b"", b"5", b"05", b"5, 5", b"5,6", b"+5", b"0x5", b"chunked", b"Chunked", b"gzip, chunked", b"close"),
            *(b"keep-alive", b"upgrade, x-a", b"websocket", b"100-continue", b"a.example", b"10.0.0.1", b"x\x80y"),
        ]
    ),
    st.from_regex(rb"[\t\x20-\x7e\x80-\xff]{0,12}", fullmatch=True),
)
any_line = st.tuples(name, st.sampled_from([b"", b" ", b"\t "]), value, st.sampled_from([b"", b" "]))
good_line = st.sampled_from(
    [
        *(b"Content-Length: 5\r\n", b"content-length:0\r\n", b"Content-Length: 5, 5\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:CHUNKED \r\n"),
        *(b"Connection: close, x-a\r\n", b"X-A: b\r\n", b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"),
        *(b"X-Forwarded-For: 10.0.0.1\r\n", b"Expect: 100-continue\r\n", b"Set-Cookie: a=b\r\n"),
    ]
)
line = st.one_of(good_line, st.builds(b"%b:%b%b%b\r\n".__mod__, any_line))
lines = st.lists(line, max_size=5).map(b"".join)
target = st.one_of(
    st.sampled_from([b"/", b"*", b"/x?token=a&b", b"http://a.example/x", b"https://b:1?y", b"ftp://c/", b"a:80"]),
    st.from_regex(rb"/[!-~]{0,10}", fullmatch=True),
)
request_heads = st.builds(
    b"%b %b HTTP/1.%b\r\n%b%b\r\n".__mod__,
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"OPTIONS", b"M-SEARCH"]),
        target,
        st.sampled_from([b"1", b"1", b"1", b"0"]),
        st.sampled_from([b"Host: ide.example\r\n", b"host:[::1]:80\r\n", b""]),
        lines,
    ),
)
response_heads = st.builds(
    b"HTTP/1.%b %d%b\r\n%b\r\n".__mod__,
    st.tuples(
        st.sampled_from([b"1", b"0"]),
        st.sampled_from([100, 101, 103, 200, 204, 304, 404, 426, 599, 999]),
        st.sampled_from([b"", b" ", b" OK", b" Not Found", b" \xe9"]),
        lines,
    ),
)


@given(mutated(request_heads), st.data())
def test_request_whole_or_in_pieces(raw, data):
    whole = head_outcome(head.find_end, head.parse_request, [raw])
    assert head_outcome(head.find_end, head.parse_request, [raw[i : i + 1] for i in range(len(raw))]) == whole
    cut = data.draw(st.integers(0, len(raw)))
    assert head_outcome(head.find_end, head.parse_request, [raw[:cut], raw[cut:]]) == whole


@given(mutated(response_heads), st.sampled_from([b"GET", b"HEAD"]))
def test_response_whole_or_in_pieces(raw, method):
    def parse(found):
        return head.parse_response(found, method)

    whole = head_outcome(head.find_response_end, parse, [raw])
    assert head_outcome(head.find_response_end, parse, [raw[i : i + 1] for i in range(len(raw))]) == whole


# --- the same, by h11


def special_to_requests(name: bytes, named: set[bytes]) -> bool:
    plain = name.replace(b"_", b"-")
    return (
        name in named
        or plain in {b"host", b"connection", b"proxy-connection", b"keep-alive", b"te", b"upgrade", b"http2-settings"}
        or plain in {b"content-length", b"transfer-encoding", b"expect", b"forwarded", b"x-request-id", b"x-real-ip"}
        or (plain.startswith(b"x-forwarded-") and plain != b"x-forwarded-")
    )


def accepted(find, parse, raw: bytes, refusals: set[tuple[Source, int]]):
    """The message if ``raw`` is exactly one good head, None if it is refused as it should be."""
    try:
        return parse(raw) if find(raw) == len(raw) else None
    except ProxyError as error:
        if (error.source, error.status) not in refusals:
            raise
        return None


def split(fields: bytes) -> list[tuple[bytes, bytes]]:
    found = [line.partition(b":") for line in fields.split(b"\r\n")[:-1]]
    return [(name.lower(), value.strip(b" \t")) for name, _, value in found]


def listed(headers, name: bytes) -> set[bytes]:
    return {option.strip(b" \t").lower() for found, value in headers if found == name for option in value.split(b",")}


@given(mutated(request_heads))
def test_what_the_reader_accepts_h11_accepts_alike(raw):
    request = accepted(head.find_end, head.parse_request, raw, {(Source.CLIENT, n) for n in (400, 501, 505)})
    if request is None:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert request.method == event.method
    assert event.http_version == b"1.%d" % request.minor
    headers = dict(event.headers)
    if event.target.startswith((b"/", b"*")):
        assert (request.target, request.host) == (event.target, headers.get(b"host", b""))
    else:
        url = urlsplit(event.target)
        path = (url.path or b"/") + (b"?" + url.query if b"?" in event.target else b"")
        assert request.target == (b"*" if request.method == b"OPTIONS" and path == b"/" and not url.path else path)
        assert request.host == url.netloc
    if request.body == CHUNKED:
        assert headers[b"transfer-encoding"] == b"chunked"
        assert b"content-length" not in headers
    else:
        assert request.body == int(headers.get(b"content-length", b"0"))
        assert b"transfer-encoding" not in headers
    named = listed(event.headers, b"connection")
    expected = [field for field in event.headers if not special_to_requests(field[0], named)]
    assert [field for field in split(request.fields) if field[0] != b"expect"] == expected
    assert request.expect_continue in (False, b"100-continue" in listed(event.headers, b"expect"))
    persistent = b"close" not in named and (request.minor == 1 or b"keep-alive" in named)
    assert request.keep_alive is persistent


@given(mutated(response_heads), st.sampled_from([b"GET", b"HEAD"]))
def test_what_the_reader_accepts_of_backends_h11_accepts_alike(raw, method):
    response = accepted(
        head.find_response_end, lambda found: head.parse_response(found, method), raw, {(Source.BACKEND, 502)}
    )
    if response is None:
        return
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a"), ("Upgrade", "any")]))
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert (response.status, response.reason) == (event.status_code, event.reason)
    headers = dict(event.headers)
    if method == b"HEAD" or response.status < 200 or response.status in (204, 304):
        assert response.body == 0
    elif b"transfer-encoding" in headers:
        assert response.body == CHUNKED
    else:
        assert response.body == int(headers.get(b"content-length", UNTIL_CLOSE))
    named = listed(event.headers, b"connection")
    special = {b"connection", b"proxy-connection", b"keep-alive", b"te", b"upgrade", b"http2-settings"}
    special |= {b"content-length", b"transfer-encoding"}
    assert all(found == headers.get(b"content-length") for found in response.field(b"content-length"))
    expected = [
        field for field in event.headers if field[0].replace(b"_", b"-") not in special and field[0] not in named
    ]
    assert [field for field in split(response.fields) if field[0] != b"content-length"] == expected


# --- time


BLOW_UPS = {
    "one long token": b"A" * 65536,
    "spaces": b"GET" + b" " * 65536,
    "a long target": b"GET /" + b"a" * 65536,
    "tabs in a value": b"GET / HTTP/1.1\r\nHost: a\r\nA:" + b"\t" * 65536 + b"\x01\r\n\r\n",
    "versions": b"GET" + b" HTTP/1.1" * 7000 + b"\r\n\r\n",
    "a version that never comes": b"GET " + b"HTTP/1." * 9000 + b" x\r\n\r\n",
    "short fields": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * 16384 + b"b\r\n\r\n",
    "lengths": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"Content-Length:5\r\n" * 3600 + b"\r\n",
    "a list of lengths": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"5," * 32000 + b"5\r\n\r\n",
    "claims": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Forwarded-For:1\r\n" * 3400 + b"\r\n",
    "different claims": b"GET / HTTP/1.1\r\nHost: a\r\n"
    + b"".join(b"X-Forwarded-%d:1\r\n" % i for i in range(3000))
    + b"\r\n",
    "named fields": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: "
    + b",".join(b"h%d" % i for i in range(4000))
    + b"\r\n"
    + b"".join(b"h%d:\r\n" % i for i in range(4000))
    + b"\r\n",
    "line ends": b"\r\n" * 32768,
    "folds": b"HTTP/1.1 200 OK\r\nA: b" + b"\r\n " * 21000 + b"\r\n\r\n",
    "line feeds": b"HTTP/1.1 200 OK\n" + b"A:b\n" * 16000 + b"\n",
    "a host": b"GET / HTTP/1.1\r\nHost: " + b"a" * 65536 + b"@\r\n\r\n",
    "an address": b"GET http://[" + b":" * 65536 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
}


def test_time_is_linear_in_hostile_bytes():
    """Anything quadratic in 64 KiB takes many seconds; linear work takes some milliseconds."""
    for name, raw in BLOW_UPS.items():
        begun = time.thread_time()
        head_outcome(head.find_end, head.parse_request, [raw])
        head_outcome(head.find_end, head.parse_request, [raw + b"\r\n\r\n"])
        head_outcome(head.find_response_end, lambda found: head.parse_response(found, b"GET"), [raw + b"\n\n"])
        head_outcome(head.find_response_end, lambda found: head.parse_response(found, b"GET"), [raw])
        head.skip_blank(raw)
        assert time.thread_time() - begun < 2, name


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", 400, "a control character or a bare CR or LF in the head"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "a control character or a bare CR or LF in the head"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400, "a folded field"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", 400, "a folded field"),
        (
            b"GET  / HTTP/1.1\r\n\r\n",
            400,
            "a malformed request line: method, target and version, separated by single spaces",
        ),
        (b"GET / HTTP/2.0\r\n\r\n", 505, "only HTTP/1.0 and HTTP/1.1 are supported"),
        (b"GET / HTTP/1.2\r\nHost : a\r\n\r\n", 400, "a malformed field: a name, a colon right after it, a value"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "a malformed field: a name, a colon right after it, a value"),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "an invalid character in the request line"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400, "an invalid character in the request line"),
    ],
)
def test_a_refusal_says_what_is_wrong(raw, status, reason):
    error = normalise.rejection(raw)
    assert (error.status, str(error)) == (status, reason)
