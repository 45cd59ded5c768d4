"""Heads as they leave: forwarding fields by trust, framing for either side, and never a byte more than was decided."""

import h11
import pytest

from balancer.http import forward, head
from balancer.http.head import CHUNKED, UNTIL_CLOSE


def get(*lines: bytes, start: bytes = b"GET /x?y HTTP/1.1") -> head.Request:
    return head.parse_request(b"\r\n".join([start, b"Host: ide.example", *lines, b"", b""]))


def answer(*lines: bytes, status: bytes = b"200 OK", method: bytes = b"GET") -> head.Response:
    return head.parse_response(b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""]), method)


def sent(request: head.Request, trusted: bool = False) -> bytes:
    return forward.RequestWriter(b"192.0.2.7", b"https", "append" if trusted else "set").write(request, b"fresh")[0]


def goes_by(request: head.Request, trusted: bool) -> bytes:
    return forward.RequestWriter(b"192.0.2.7", b"https", "append" if trusted else "set").write(request, b"fresh")[1]


CLAIMS = [
    b"X-Forwarded-For: 10.0.0.1",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Host: front.example",
    b"Forwarded: for=10.0.0.1",
    b"X-Request-ID: theirs",
    b"X-Forwarded-Port: 443",
    b"X_Forwarded_For: 10.9.9.9",
]


def test_plain_request():
    assert sent(get(b"Cookie: a=1", b"Connection: close")) == (
        b"GET /x?y HTTP/1.1\r\nHost: ide.example\r\nCookie: a=1\r\nX-Forwarded-For: 192.0.2.7\r\n"
        b"X-Forwarded-Proto: https\r\nX-Request-ID: fresh\r\nX-Forwarded-Host: ide.example\r\n\r\n"
    )


def test_claims_of_strangers_are_replaced():
    assert sent(get(*CLAIMS)) == sent(get())


def test_claims_of_trusted_peers_are_kept_and_extended():
    fields = sent(get(*CLAIMS), trusted=True).split(b"\r\n")
    assert fields[2:-2] == [
        b"X-Forwarded-For: 10.0.0.1, 192.0.2.7",
        b"X-Forwarded-Proto: http",
        b"X-Request-ID: theirs",
        b"X-Forwarded-Port: 443",
        b"Forwarded: for=10.0.0.1",
        b"X-Forwarded-Host: front.example",
    ]


def test_a_trusted_peer_may_claim_nothing():
    assert sent(get(), trusted=True) == sent(get())


@pytest.mark.parametrize("insane", [b"", b"a b", b"\xe9", b"x" * 129])
def test_insane_request_ids_are_replaced(insane):
    request = get(b"X-Request-ID: " + insane)
    assert goes_by(request, True) == b"fresh"
    assert b"X-Request-ID: fresh\r\n" in sent(request, trusted=True)


def test_the_id_a_request_goes_by():
    request = get(b"X-Request-ID: " + b"x" * 128)
    assert goes_by(request, True) == b"x" * 128
    assert goes_by(request, False) == b"fresh"
    assert goes_by(get(*[b"X-Request-ID: a"] * 2), True) == b"fresh"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"Content-Length: 0", b"Content-Length: 0\r\n"),
        (b"Content-Length: 007", b"Content-Length: 7\r\n"),
        (b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked\r\n"),
        (b"Connection: Upgrade, x\r\nUpgrade: websocket", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ],
)
def test_own_fields_of_a_request(line, expected):
    with_line, without_line = sent(get(line)), sent(get())
    assert with_line == without_line[:-2] + expected + b"\r\n"


def test_http_1_0_request_is_sent_as_1_1():
    request = head.parse_request(b"GET / HTTP/1.0\r\n\r\n")
    assert sent(request) == (
        b"GET / HTTP/1.1\r\nHost: \r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
        b"X-Request-ID: fresh\r\n\r\n"
    )


def test_h11_reads_what_is_sent():
    request = get(*CLAIMS, b"Content-Length: 5", b"Connection: close, cookie", b"Cookie: a", start=b"POST / HTTP/1.1")
    for trusted in (True, False):
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(sent(request, trusted) + b"12345")
        event = connection.next_event()
        assert isinstance(event, h11.Request)
        assert (event.method, event.target) == (b"POST", b"/")
        assert connection.next_event().data == b"12345"
        assert isinstance(connection.next_event(), h11.EndOfMessage)


@pytest.mark.parametrize(
    ("lines", "minor", "keep_alive", "own", "body"),
    [
        ([b"Content-Length: 5"], 1, True, b"Content-Length: 5\r\n", 5),
        ([b"Content-Length: 5"], 1, False, b"Content-Length: 5\r\nConnection: close\r\n", 5),
        ([b"Content-Length: 5"], 0, True, b"Content-Length: 5\r\nConnection: keep-alive\r\n", 5),
        ([b"Content-Length: 5"], 0, False, b"Content-Length: 5\r\nConnection: close\r\n", 5),
        ([b"Transfer-Encoding: chunked"], 1, True, b"Transfer-Encoding: chunked\r\n", CHUNKED),
        ([b"Transfer-Encoding: chunked"], 0, True, b"Connection: close\r\n", UNTIL_CLOSE),
        ([], 1, True, b"Transfer-Encoding: chunked\r\n", CHUNKED),
        ([], 1, False, b"Transfer-Encoding: chunked\r\nConnection: close\r\n", CHUNKED),
        ([], 0, True, b"Connection: close\r\n", UNTIL_CLOSE),
        ([b"Content-Length: 5", b"Connection: close, x", b"X: y"], 1, True, b"Content-Length: 5\r\n", 5),
        ([b"Content-Length: 5", b"Connection: upgrade", b"Upgrade: h2"], 1, True, b"Content-Length: 5\r\n", 5),
    ],
)
def test_response_head(lines, minor, keep_alive, own, body):
    expected = b"HTTP/1.1 200 OK\r\nserver: x\r\n" + own + b"\r\n", body
    assert forward.response_head(answer(b"server: x", *lines), minor, keep_alive) == expected


@pytest.mark.parametrize(
    ("status", "method", "lines", "own"),
    [
        (b"200 OK", b"HEAD", [b"Content-Length: 5"], b"Content-Length: 5\r\n"),
        (b"200 OK", b"HEAD", [b"Transfer-Encoding: chunked"], b""),
        (b"304 Not Modified", b"GET", [b"Content-Length: 5"], b"Content-Length: 5\r\n"),
        (b"204 No Content", b"GET", [b"Content-Length: 0"], b""),
        (b"100 Continue", b"POST", [b"Connection: close"], b""),
        (b"101 Go", b"GET", [b"connection: upgrade", b"upgrade: a"], b"Connection: Upgrade\r\nUpgrade: a\r\n"),
    ],
)
def test_responses_without_a_body(status, method, lines, own):
    response = answer(*lines, status=status, method=method)
    assert forward.response_head(response, 1, True) == (b"HTTP/1.1 " + status + b"\r\n" + own + b"\r\n", 0)


def test_426_says_what_to_upgrade_to():
    response = answer(b"Content-Length: 0", b"Connection: upgrade", b"Upgrade: websocket", status=b"426 Upgrade")
    written, _ = forward.response_head(response, 1, True)
    assert written == b"HTTP/1.1 426 Upgrade\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_http_1_0_knows_no_interim_responses():
    assert forward.response_head(answer(status=b"103 Early Hints"), 0, True) == (b"", 0)
