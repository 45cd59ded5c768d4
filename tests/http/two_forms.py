"""Compare the two forms of the readers of bytes over random mutations: ``python -m tools forms [COUNT [SEED]]``."""

import random
import sys
import time

from attributes import attributes

from balancer.http import fast_response, query, request_line

RESPONSES = [
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n"
    b'ETag: "a"\r\n\r\nhello',
    b"HTTP/1.1 404 Not Found\r\nX-Powered-By: Express\r\ncontent-length: 0\r\nDate: now\r\nconnection: Keep-Alive\r\n"
    b"Keep-Alive: timeout=5\r\n\r\n",
    b"HTTP/1.1 500 \r\nA:\r\ntrailer: x\r\nCONTENT-LENGTH: 123456789012345678\r\nTE-x: y\r\n\r\n",
]
LINES = [
    b"GET /a?token=b HTTP/1.1",
    b"CONNECT /a HTTP/1.1",
    b"CONNECTS / HTTP/1.",
    b"M-SEARCH /%7e!$&'()*+,;=:@~ HTTP/1.0",
]
TARGETS = [
    b"/a?token=b&token=c",
    b"/?x=token=&token&token=",
    b"/a/b?&&token=x?y=z&tokens=1",
    b"token=1?token=2#&token=3",
]
PIECES = [
    *(b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"-", b"_", b"\0", b"\x7f", b"\x80", b"\xff", b"#", b"?", b"&", b"="),
    *(b"0", b"5", b"1", b"204", b"304", b"600", b"/", b" HTTP/1.", b"HTTP/1.1 ", b"token=", b"token", b"CONNECT "),
    *(b"Content-Length: 5\r\n", b"Connection: keep-alive\r\n", b"Keep-Alive: x\r\n", b"Content_Length: 5\r\n"),
    *(
        b"Upgrade: h2\r\n",
        b"TE: x\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Http2-Settings: x\r\n",
        b"Connection: a\r\n",
    ),
    *(b"proxy-connection: x\r\n", b"keep_alive: x\r\n", b"X-A: b\r\n", b"Content-Length:5\r\n", b"a:\r\n"),
]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Return ``data`` after a few changes: pieces put in, left out, repeated, in other cases."""
    for _ in range(chance.choice((0, 1, 1, 2, 3, 4))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 | 1:
                data = data[:at] + chance.choice(PIECES) + data[at:]
            case 2:
                data = data[:at] + data[at + chance.choice((1, 1, 2, 9)) :]
            case 3:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + chance.randrange(2) :]
            case 4:
                other = chance.randrange(len(data) + 1)
                data = data[:at] + data[min(at, other) : max(at, other)] + data[at:]
            case _:
                data = data[:at] + data[at : at + 9].swapcase() + data[at + 9 :]
    return data


def response(data: bytes, method: bytes = b"GET") -> None:
    """Compare what both forms say of a response."""
    one, other = fast_response.by_bytes(data, method), fast_response.by_expression(data, method)
    assert (one and attributes(one)) == (other and attributes(other)), data


def line(data: bytes) -> None:
    """Compare what both forms say of a request line."""
    assert request_line.by_bytes(data, len(data)) == request_line.by_expression(data, len(data)), data


def target(data: bytes, name: str = "token") -> None:
    """Compare the values that both forms find in a target."""
    assert query.by_bytes(data, name) == query.by_expression(data, name), data


def compare(count: int, seed: int) -> None:
    """Compare both forms of each reader over ``count`` mutations."""
    chance = random.Random(seed)
    for _ in range(count):
        response(mutate(chance.choice(RESPONSES), chance), chance.choice((b"GET", b"HEAD")))
        line(mutate(chance.choice(LINES), chance))
        target(mutate(chance.choice(TARGETS), chance))


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    print(f"{number} mutations for each reader, seed {chosen} ...", flush=True)
    compare(number, chosen)
    print("both forms said the same of all of them")
