"""Heads, by example: what the reader makes of the fields it acts upon, and where a head ends."""

import pytest

from balancer.errors import ProxyError, Source
from balancer.http import head
from balancer.http.head import CHUNKED, UNTIL_CLOSE

BROWSER = (
    b"GET /ide/terminal?token=8f14e45fceea167a&tab=3 HTTP/1.1\r\n"
    b"Host: ide.example:8443\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*;q=0.8\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nCookie: a=1; b=2\r\n\r\n"
)


def get(*lines: bytes, method: bytes = b"GET", minor: int = 1) -> head.Request:
    host = [b"Host: ide.example"] if minor and not any(line.lower().startswith(b"host") for line in lines) else []
    start = b"%b / HTTP/1.%d" % (method, minor)
    return head.parse_request(b"\r\n".join([start, *host, *lines, b"", b""]))


def answer(*lines: bytes, status: bytes = b"200 OK", method: bytes = b"GET", minor: int = 1) -> head.Response:
    return head.parse_response(b"\r\n".join([b"HTTP/1.%d %b" % (minor, status), *lines, b"", b""]), method)


# --- requests, by example


def test_browser_request():
    request = head.parse_request(BROWSER)
    assert (request.method, request.target, request.minor) == (b"GET", b"/ide/terminal?token=8f14e45fceea167a&tab=3", 1)
    assert request.host == b"ide.example:8443"
    assert request.fields == (
        b"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
        b"Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: a=1; b=2\r\n"
    )
    assert (request.body, request.content_length) == (0, None)
    assert request.keep_alive
    assert request.upgrade is None
    assert not request.expect_continue


@pytest.mark.parametrize(
    ("lines", "minor", "expected"),
    [
        ([], 1, True),
        ([], 0, False),
        ([b"Connection: close"], 1, False),
        ([b"Connection: Close"], 1, False),
        ([b"Connection: keep-alive, close"], 1, False),
        ([b"Connection: keep-alive", b"Connection: close"], 1, False),
        ([b"Connection: keep-alive"], 0, True),
        ([b"Connection: Keep-Alive"], 0, True),
        ([b"Connection: close, keep-alive"], 0, False),
        ([b"Connection: foo"], 0, False),
        ([b"Proxy-Connection: keep-alive"], 0, False),
    ],
)
def test_keep_alive(lines, minor, expected):
    assert get(*lines, minor=minor).keep_alive is expected
    assert answer(b"Content-Length: 0", *lines, minor=minor).keep_alive is expected


def test_hop_by_hop_fields_go_no_further():
    lines = [
        b"Connection: Keep-Alive, X-Hop ,cookie",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"TE: trailers",
        b"Upgrade: websocket",
        b"HTTP2-Settings: AAMAAABkAAQ",
        b"x-hop: secret",
        b"X-HOP: secret",
        b"X-Hopper: stays",
        b"Cookie: a=1",
    ]
    assert get(*lines).fields == b"X-Hopper: stays\r\n"
    assert answer(*lines).fields == b"X-Hopper: stays\r\n"


@pytest.mark.parametrize(
    "named", [b"close, host", b"content-length", b"Content-Length, Host", b"transfer-encoding", b"x-forwarded-for"]
)
def test_connection_cannot_remove_host_or_framing(named):
    request = get(b"Connection: " + named, b"Content-Length: 5", b"A: b")
    assert (request.host, request.body, request.content_length) == (b"ide.example", 5, b"5")
    request = get(b"Connection: " + named, b"Transfer-Encoding: chunked", b"A: b")
    assert (request.host, request.body) == (b"ide.example", CHUNKED)
    assert answer(b"Connection: " + named, b"Content-Length: 5").body == 5


def test_forwarding_claims_are_put_aside():
    request = get(
        b"X-Forwarded-For: 10.0.0.1",
        b"x-forwarded-for: 10.0.0.2, 10.0.0.3",
        b"X-FORWARDED-PROTO: https",
        b"X-Forwarded-Host: a.example",
        b"Forwarded: for=10.0.0.1",
        b"X-Request-ID: r1",
        b"X-Forwarded-Port: 443",
        b"X-Real-IP: 10.0.0.1",
        b"X-Forward: stays",
    )
    assert request.fields == b"X-Forward: stays\r\n"
    assert request.forwarded_for == b"10.0.0.1, 10.0.0.2, 10.0.0.3"
    assert request.forwarded_proto == b"https"
    assert request.forwarded_host == b"a.example"
    assert request.forwarded == b"for=10.0.0.1"
    assert request.request_id == b"r1"
    assert request.other_claims == b"X-Forwarded-Port: 443\r\nX-Real-Ip: 10.0.0.1\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"X_Forwarded_For",
        b"x-forwarded_for",
        b"X_Forwarded-Proto",
        b"X_FORWARDED_HOST",
        b"X_Forwarded_Port",
        b"X_Request_ID",
        b"X_Real_IP",
        b"Content_Length",
        b"Transfer_Encoding",
        b"Keep_Alive",
    ],
)
def test_spellings_with_underscores_are_dropped(name):
    request = get(name + b": 7", b"A_b: stays")
    assert request.fields == b"A_b: stays\r\n"
    assert (request.body, request.forwarded_for, request.request_id, request.other_claims) == (0, None, None, b"")


@pytest.mark.parametrize(
    ("lines", "minor", "expected"),
    [
        ([b"Connection: Upgrade", b"Upgrade: websocket"], 1, b"websocket"),
        ([b"Connection: keep-alive, upgrade", b"Upgrade: WebSocket"], 1, b"WebSocket"),
        ([b"Connection: upgrade", b"Upgrade: a/1", b"Upgrade: b"], 1, b"a/1, b"),
        ([b"Upgrade: websocket"], 1, None),
        ([b"Connection: upgrade"], 1, None),
        ([b"Connection: Upgrade", b"Upgrade: websocket"], 0, None),
        ([b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"], 1, None),
        ([b"Connection: Upgrade", b"Upgrade: websocket, H2C"], 1, None),
    ],
)
def test_upgrade(lines, minor, expected):
    assert get(*lines, minor=minor).upgrade == expected


def test_expectation_is_passed_on_except_from_http_1_0():
    request = get(b"Expect: 100-Continue", b"Content-Length: 5")
    assert request.expect_continue
    assert request.fields == b"Expect: 100-Continue\r\n"
    request = get(b"Expect: 100-continue", b"Content-Length: 5", minor=0)
    assert not request.expect_continue
    assert request.fields == b""


@pytest.mark.parametrize(
    ("target", "host", "origin"),
    [
        (b"http://a.example/x?token=1", b"a.example", b"/x?token=1"),
        (b"HTTPS://a.example:8443?token=1", b"a.example:8443", b"/?token=1"),
        (b"http://[::1]:80", b"[::1]:80", b"/"),
    ],
)
def test_absolute_target_becomes_origin_form_and_its_authority_host(target, host, origin):
    request = head.parse_request(b"GET %b HTTP/1.1\r\nHost: other\r\nA: b\r\n\r\n" % target)
    assert (request.target, request.host, request.fields) == (origin, host, b"A: b\r\n")


def test_asterisk_is_for_options():
    assert head.parse_request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target == b"*"
    assert head.parse_request(b"OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n").target == b"*"
    with pytest.raises(ProxyError):
        head.parse_request(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n")


def test_equal_lengths_are_merged():
    for lines in ([b"Content-Length: 5", b"content-length: 5"], [b"Content-Length: 5, 5"]):
        request = get(*lines, b"X-Forwarded-For: 10.0.0.1", b"A:  b ")
        assert (request.body, request.content_length) == (5, b"5")
        assert request.fields.startswith(b"A: ")
        assert request.forwarded_for == b"10.0.0.1"
        assert answer(*lines).body == 5


def test_length_is_written_canonically():
    assert get(b"Content-Length: 0005").content_length == b"5"
    assert get(b"Content-Length: 9223372036854775807").body == 2**63 - 1


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: Chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
    ],
)
def test_other_refusals(raw, status):
    with pytest.raises(ProxyError) as caught:
        head.parse_request(raw)
    assert (caught.value.source, caught.value.status) == (Source.CLIENT, status)


@pytest.mark.parametrize("version", [b"1.2", b"1.9"])
def test_higher_minor_versions_are_read_as_1_1(version):
    request = head.parse_request(b"GET / HTTP/%b\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % version)
    assert (request.minor, request.keep_alive, request.upgrade) == (1, True, b"x")
    absolute = head.parse_request(b"GET http://b/c HTTP/%b\r\nHost: a\r\n\r\n" % version)
    assert (absolute.minor, absolute.host, absolute.target) == (1, b"b", b"/c")
    response = head.parse_response(b"HTTP/%b 200 OK\r\nContent-Length: 5\r\n\r\n" % version, b"GET")
    assert (response.minor, response.keep_alive) == (1, True)


def test_field_finds_all_values_in_any_case():
    request = get(b"X-A: 1", b"x-a:2\t", b"X-Ab: 3")
    assert request.field(b"x-a") == [b"1", b"2"]
    assert request.field(b"missing") == []


# --- responses, by example


@pytest.mark.parametrize(
    ("status", "method", "lines", "body", "announced"),
    [
        (b"200 OK", b"GET", [b"Content-Length: 5"], 5, [b"5"]),
        (b"200 OK", b"GET", [b"Transfer-Encoding: Chunked"], CHUNKED, []),
        (b"200 OK", b"GET", [], UNTIL_CLOSE, []),
        (b"200 OK", b"HEAD", [b"Content-Length: 5"], 0, [b"5"]),
        (b"200 OK", b"HEAD", [b"Transfer-Encoding: chunked"], 0, []),
        (b"304 Not Modified", b"GET", [b"Content-Length: 5"], 0, [b"5"]),
        (b"304 Not Modified", b"GET", [], 0, []),
        (b"204 No Content", b"GET", [b"Content-Length: 0"], 0, []),
        (b"101 Switching Protocols", b"GET", [], 0, []),
        (b"100 Continue", b"POST", [], 0, []),
    ],
)
def test_response_body(status, method, lines, body, announced):
    response = answer(*lines, status=status, method=method)
    assert (response.body, response.field(b"content-length")) == (body, announced)
    assert response.keep_alive is (body != UNTIL_CLOSE)


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_body_where_none_may_be_costs_the_connection(line):
    assert not answer(line, status=b"204 No Content").keep_alive
    assert not answer(line, status=b"103 Early Hints").keep_alive


def test_http_1_0_response_needs_keep_alive():
    assert not answer(b"Content-Length: 1", minor=0).keep_alive
    assert answer(b"Content-Length: 1", b"Connection: keep-alive", minor=0).keep_alive


@pytest.mark.parametrize(("line", "reason"), [(b"200", b""), (b"200 ", b""), (b"200 All is well", b"All is well")])
def test_reason_may_be_missing(line, reason):
    response = answer(b"Content-Length: 0", b"A: b", status=line)
    assert (response.status, response.reason, response.fields) == (200, reason, b"A: b\r\nContent-Length: 0\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\nServer: old\nA: b c\nContent-Length: 5\n\n",
        b"HTTP/1.1 200 OK\r\nServer: old\r\nA: b\r\n  c\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\nServer: old\r\nA: b\n\tc\r\nContent-Length:\n 5\r\n\n",
    ],
)
def test_old_backends_are_normalised(raw):
    assert head.find_response_end(raw + b"12345") == len(raw)
    response = head.parse_response(raw, b"GET")
    assert (response.body, response.fields) == (5, b"Server: old\r\nA: b c\r\nContent-Length: 5\r\n")


def test_101_from_an_old_backend():
    response = head.parse_response(b"HTTP/1.1 101 Go\nConnection: Upgrade\nUpgrade: websocket\n\n", b"GET")
    assert (response.status, response.upgrade) == (101, b"websocket")


REFUSED_RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: \x01\n\n",
    b"HTTP/1.1 200 O\x0bK\r\n\r\n",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    b"\r\n\r\n",
]


def test_refused_responses():
    def outcome(raw):
        try:
            return head.parse_response(raw, b"GET")
        except ProxyError as error:
            return error.source, error.status

    assert {raw: outcome(raw) for raw in REFUSED_RESPONSES} == dict.fromkeys(REFUSED_RESPONSES, (Source.BACKEND, 502))


# --- finding the end


def test_find_end():
    assert head.find_end(BROWSER) == len(BROWSER)
    assert head.find_end(BROWSER + b"GET /") == len(BROWSER)
    assert head.find_end(BROWSER[:-1]) == -1
    assert head.find_end(b"") == -1
    assert head.skip_blank(b"\r\n\r\nGET") == 4
    assert head.skip_blank(b"\r") == 0
    assert head.skip_blank(b"GET") == 0


@pytest.mark.parametrize(
    "begun", [b"GET / HTTP/1.1\n", b"GET /\rx", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nA: \x00", b"\n"]
)
def test_a_hopeless_beginning_is_refused_at_once(begun):
    with pytest.raises(ProxyError) as caught:
        head.find_end(begun)
    assert (caught.value.source, caught.value.status) == (Source.CLIENT, 400)
