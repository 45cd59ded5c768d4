"""Heads of one connection: each is read as if it were the first, whatever came before it."""

import pytest
from attributes import attributes
from hypothesis import given
from hypothesis import strategies as st

from balancer.errors import ProxyError
from balancer.http.head import parse_request
from balancer.http.reader import RequestReader

LINES = [
    b"GET / HTTP/1.1",
    b"GET /other?token=a HTTP/1.1",
    b"POST /x HTTP/1.1",
    b"GET /x HTTP/1.0",
    b"GET http://b.example/x HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT /x HTTP/1.1",
    b"CONNECT b.example:443 HTTP/1.1",
    b"GET /x#y HTTP/1.1",
    b"GET  /x HTTP/1.1",
    b"GET /x HTTP/1.1 HTTP/1.1",
    b"GET /x HTTP/2.0",
]
FIELDS = [
    b"Host: a\r\n",
    b"Host: a\r\nCookie: b=c\r\nContent-Length: 5\r\n",
    b"Host: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
    b"Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Host: a\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\nX: y\r\n",
    b"Host: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX-Forwarded-For: 1.2.3.4\r\nExpect: 100-continue\r\n",
    b"Cookie: b=c\r\n",
    b"",
]
heads = st.builds(
    lambda line, fields: line + b"\r\n" + fields + b"\r\n", st.sampled_from(LINES), st.sampled_from(FIELDS)
)


def outcome(read, head: bytes):
    """All that a request says, or how it is refused."""
    try:
        request = read(head)
    except ProxyError as error:
        return error.status, str(error)
    return attributes(request)


@given(st.lists(heads, max_size=6))
def test_what_came_before_has_no_say(sequence):
    reader = RequestReader()
    for head in sequence:
        assert outcome(reader.read, head) == outcome(parse_request, head)


def test_the_host_of_an_absolute_target_is_not_that_of_the_next_request():
    reader = RequestReader()
    assert reader.read(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n").host == b"b"
    assert reader.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").host == b"a"


@pytest.mark.parametrize("line", [b"CONNECT / HTTP/1.1", b"GET /\x7f HTTP/1.1", b"G(T / HTTP/1.1", b"GET x HTTP/1.1"])
def test_a_bad_line_before_known_fields_is_refused(line):
    reader = RequestReader()
    fields = b"\r\nHost: a\r\n\r\n"
    reader.read(b"GET / HTTP/1.1" + fields)
    with pytest.raises(ProxyError):
        reader.read(line + fields)
    assert reader.read(b"PUT /y HTTP/1.1" + fields).method == b"PUT"
