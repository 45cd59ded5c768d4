"""The quick reader of responses says what ``parse_response`` says, or nothing."""

import pytest
from attributes import attributes
from hypothesis import given
from hypothesis import strategies as st

from balancer.http.fast_response import read_fast_response
from balancer.http.forward import response_head
from balancer.http.head import Response, find_response_end, parse_response, without

NGINX = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 15:01:56 GMT\r\nContent-Type: text/plain\r\n"
    b'Content-Length: 5\r\nLast-Modified: Sun, 22 Nov 2026 15:01:56 GMT\r\nConnection: keep-alive\r\nETag: "a"\r\n\r\n'
)
NODE = (
    b"HTTP/1.1 404 Not Found\r\nX-Powered-By: Express\r\nContent-Length: 5\r\nDate: now\r\nConnection: keep-alive\r\n"
    b"Keep-Alive: timeout=5\r\n\r\n"
)
GO = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n"
UVICORN = b"HTTP/1.1 200 OK\r\ndate: now\r\nserver: uvicorn\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\n"

LINES = [
    *(b"Content-Length: 5", b"content-length: 0", b"CONTENT-LENGTH: 17 ", b"Content-Length: 05", b"Content-Length:5"),
    *(b"Content_Length: 5", b"Content-Length: 5, 5", b"Content-Length: -1", b"Content-Lengths: 5"),
    *(b"Content-Length: 999999999999999999", b"Content-Length: 9999999999999999999"),
    *(
        b"Connection: keep-alive",
        b"connection: Keep-Alive",
        b"Connection: close",
        b"Connection: x-a",
        b"Connections: a",
    ),
    *(b"Keep-Alive: timeout=5", b"keep-alive:", b"Upgrade: h2", b"TE: trailers", b"Transfer-Encoding: chunked"),
    *(
        b"X-A: b",
        b"Server:",
        b"Cookie: \xe4",
        b"Bad Name: a",
        b" folded",
        b"X: a\rb",
        b"X: a\nb",
        b"X: \x00",
        b"none",
        b"",
    ),
    *(b"Balancer-Refused: full", b"balancer_x: 1", b"B: 1", b"Balancers: 1", b"BALANCER-" + b"x" * 40 + b": 1"),
]
STARTS = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 500 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 304 Not Modified"),
    *(b"HTTP/1.1 204 No Content", b"HTTP/1.1 103 Early Hints", b"HTTP/1.1 101 Go", b"HTTP/1.1 600 x", b"HTTP/2 200 OK"),
]
responses = st.builds(
    lambda start, lines, end, rest: b"\r\n".join([start, *lines, b""]) + end + rest,
    st.one_of(st.just(STARTS[0]), st.sampled_from(STARTS)),
    st.lists(
        st.one_of(st.sampled_from([*LINES[:3], *LINES[11:13], LINES[16], LINES[21]]), st.sampled_from(LINES)),
        max_size=5,
    ),
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b""]),
    st.sampled_from([b"", b"12345", b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n"]),
)


def said(response: Response) -> dict[str, object]:
    """What a response says; wherever its Content-Length stands, and however it goes on."""
    found = {name: value for name, value in attributes(response).items() if name not in ("end", "whole")}
    lengths = [b"Content-Length: %b\r\n" % length for length in response.field(b"content-length")]
    return {**found, "fields": without(response.fields, {b"content-length"}) + b"".join(lengths)}


def read(data: bytes, method: bytes = b"GET") -> tuple[Response, bytes] | None:
    """The response and the bytes after its head."""
    response = read_fast_response(data, method)
    return response and (response, data[response.end :])


@pytest.mark.parametrize("head", [NGINX, NODE, GO, UVICORN])
def test_common_responses_take_the_fast_path(head):
    found = read(head + b"hello")
    assert found is not None
    response, rest = found
    assert (said(response), rest) == (said(parse_response(head, b"GET")), b"hello")
    assert (response.body, response.keep_alive) == (5, True)


@given(responses, st.sampled_from([b"GET", b"GET", b"HEAD"]))
def test_it_says_the_same_or_nothing(data, method):
    found = read(data, method)
    if found is not None:
        response, rest = found
        end = find_response_end(data)
        assert rest == data[end:]
        assert said(response) == said(parse_response(data[:end], method))


@given(responses, st.sampled_from([b"GET", b"HEAD"]))
def test_it_goes_on_as_a_client_would_get_it_otherwise(data, method):
    response = read_fast_response(data, method)
    if response is not None:
        end = find_response_end(data)
        written, _ = response_head(parse_response(data[:end], method), 1, keep_alive=True)
        whole = response.whole
        there = whole.index(b"\r\n\r\n") + 4
        assert whole[there:] == data[end:]
        assert sorted(whole[:there].lower().split(b"\r\n")) == sorted(written.lower().split(b"\r\n"))


@given(responses)
def test_an_incomplete_head_does_not(data):
    found = read(data)
    if found is not None:
        end = found[0].end
        assert all(read_fast_response(data[:cut], b"GET") is None for cut in range(end))


@pytest.mark.parametrize("middle", [b"", b"Content-Length: 5\r\n", b"Content-Length: 5\r\nConnection: keep-alive\r\n"])
def test_a_long_head_in_vain_takes_linear_time(middle):
    """100,000 lines: with one step back for each that were 5,000,000,000 looks."""
    lines = b"a:\r\n" * 100_000
    assert read_fast_response(b"HTTP/1.1 200 OK\r\n" + lines + middle + lines + b"Upgrade: x\r\n\r\n", b"GET") is None
