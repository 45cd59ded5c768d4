"""Request smuggling: every head two servers might read differently is refused with 400."""

from balancer.errors import ProxyError
from balancer.http import head

START = b"POST / HTTP/1.1\r\nHost: a\r\n"

ATTEMPTS = {
    "length and coding": START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "coding and length": START + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "coding and equal lengths": START + b"Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": START + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a list of lengths": START + b"Content-Length: 5, 6\r\n\r\n",
    "an unfinished list of lengths": START + b"Content-Length: 5,\r\n\r\n",
    "a list of no lengths": START + b"Content-Length: ,\r\n\r\n",
    "a signed length": START + b"Content-Length: +5\r\n\r\n",
    "a negative length": START + b"Content-Length: -5\r\n\r\n",
    "a length with a space": START + b"Content-Length: 5 5\r\n\r\n",
    "a hexadecimal length": START + b"Content-Length: 0x5\r\n\r\n",
    "a length with an underscore": START + b"Content-Length: 1_0\r\n\r\n",
    "a length in other digits": START + b"Content-Length: \xd9\xa5\r\n\r\n",
    "a fraction": START + b"Content-Length: 5.0\r\n\r\n",
    "an empty length": START + b"Content-Length: \r\n\r\n",
    "a length of 2^63": START + b"Content-Length: 9223372036854775808\r\n\r\n",
    "a very long length": START + b"Content-Length: " + b"0" * 100 + b"5\r\n\r\n",
    "a merged length of 2^64": START + b"Content-Length: 18446744073709551616, 18446744073709551616\r\n\r\n",
    "space before the colon": START + b"Transfer-Encoding : chunked\r\n\r\n",
    "tab before the colon": START + b"Transfer-Encoding\t: chunked\r\n\r\n",
    "space before the colon of a length": START + b"Content-Length : 5\r\n\r\n",
    "an unknown coding": START + b"Transfer-Encoding: xchunked\r\n\r\n",
    "identity": START + b"Transfer-Encoding: identity\r\n\r\n",
    "a vertical tab": START + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "a form feed": START + b"Transfer-Encoding: chunked\x0c\r\n\r\n",
    "chunked twice": START + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "chunked around another coding": START + b"Transfer-Encoding: chunked, gzip, chunked\r\n\r\n",
    "another coding in parts": START + b"Transfer-Encoding: gz ip, chunked\r\n\r\n",
    "chunked not last": START + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "a quoted coding": START + b'Transfer-Encoding: "chunked"\r\n\r\n',
    "a coding with parameters": START + b"Transfer-Encoding: chunked;a=b\r\n\r\n",
    "an empty coding": START + b"Transfer-Encoding:\r\n\r\n",
    "an empty list element": START + b"Transfer-Encoding: ,chunked\r\n\r\n",
    "two coding fields": START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two different coding fields": START + b"Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n",
    "a high byte in a coding": START + b"Transfer-Encoding: chunked\xa0\r\n\r\n",
    "a folded coding": START + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
    "a folded coding name": START + b"Foo: bar\r\n Transfer-Encoding: chunked\r\n\r\n",
    "a fold with a tab": START + b"Foo: bar\r\n\tbaz\r\n\r\n",
    "a fold before any field": b"POST / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
    "a coding in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "NUL in a value": START + b"Foo: a\x00b\r\n\r\n",
    "NUL in a name": START + b"Foo\x00: b\r\n\r\n",
    "NUL in a coding": START + b"Transfer-Encoding: chunked\x00\r\n\r\n",
    "DEL in a value": START + b"Foo: a\x7fb\r\n\r\n",
    "a bare LF": START + b"Foo: bar\nTransfer-Encoding: chunked\r\n\r\n",
    "a bare LF after the request line": b"POST / HTTP/1.1\nHost: a\r\n\r\n",
    "a bare CR in a value": START + b"Foo: bar\rTransfer-Encoding: chunked\r\n\r\n",
    "CR CR LF": START + b"Foo: bar\r\r\n\r\n",
    "an early end by LF": START + b"\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n",
    "no colon": START + b"Foo\r\n\r\n",
    "no name": START + b": bar\r\n\r\n",
    "a name with a space": START + b"Foo Bar: baz\r\n\r\n",
    "a name with brackets": START + b"Foo[]: baz\r\n\r\n",
    "a name with a high byte": START + b"Tr\xe4nsfer: baz\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nFoo: bar\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal hosts": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "an empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "two hosts in one": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a host with two ports": b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
    "a host with a long port": b"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n",
    "a host with a high byte": b"GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n",
    "an absolute target without a host field": b"GET http://a/ HTTP/1.1\r\n\r\n",
    "an absolute target with two host fields": b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "an absolute target with a user": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target without authority": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    "another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an authority as target": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a relative target": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a high byte in the target": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab in the target": b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
    "a control character in the target": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab for a space": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space after the version": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a space before the method": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "a lower-case version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "a long version": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "a method with brackets": b"G[]T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty head": b"\r\n\r\n",
}


def outcome(raw: bytes) -> str:
    try:
        head.parse_request(raw)
    except ProxyError as error:
        return f"{error.source} {error.status}" if "SECRET" not in f"{error!r} {error}" else "quotes the client"
    return "accepted"


def test_every_attempt_is_refused():
    outcomes = {name: outcome(raw) for name, raw in ATTEMPTS.items()}
    assert outcomes == dict.fromkeys(ATTEMPTS, "client 400")


def test_no_byte_of_the_client_is_in_a_reason():
    marked = {
        name: raw.replace(b"Host: a\r\n", b"Host: a\r\nCookie: SECRET\r\n", 1)
        .replace(b"Foo: ", b"Foo: SECRET")
        .replace(b" /", b" /SECRET")
        for name, raw in ATTEMPTS.items()
    }
    outcomes = {name: outcome(raw) for name, raw in marked.items()}
    assert outcomes == dict.fromkeys(ATTEMPTS, "client 400")


def test_the_table_is_about_its_flaws():
    """The heads above are refused for what is wrong with them: without it they are accepted."""
    assert head.parse_request(START + b"Content-Length: 5\r\nFoo: bar\r\n\r\n").body == 5
    assert head.parse_request(START + b"Transfer-Encoding: chunked\r\nFoo: bar\r\n\r\n").body == head.CHUNKED
    assert head.parse_request(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").target == b"/"
