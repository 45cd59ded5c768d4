"""The playbooks of the data plane: requests, uploads, tunnels, and what goes wrong with them."""

from playbook import Act, Playbook
from proxy_rig import CLIENT, DATE, REQUEST_ID

from balancer.config.settings import RetrySettings, TokenSettings

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
HELLO = b"\x81\x85\x01\x02\x03\x04iglhn"
"""A masked text frame of a client."""
WORLD = b"\x81\x05world"
CHUNKS = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS
PROXY = b"PROXY TCP4 203.0.113.9 192.0.2.1 1234 80\r\n"
TRUSTED = {"proxy_protocol": "accept", "trusted": ("192.0.2.0/24",)}


def forwarded(start, *lines, body=b""):
    """A request as its backend gets it."""
    address = CLIENT.encode()
    added = (
        b"X-Forwarded-For: " + address,
        b"X-Forwarded-Proto: http",
        b"X-Request-ID: " + REQUEST_ID,
        b"X-Forwarded-Host: h",
    )
    return b"\r\n".join((start + b" HTTP/1.1", *lines, *added, b"", body))


def error(status, reason, keep=False):
    """An answer of the balancer's own."""
    phrase, fields = {
        400: (b"Bad Request", b""),
        408: (b"Request Timeout", b""),
        413: (b"Request Entity Too Large", b""),
        414: (b"Request-URI Too Long", b""),
        431: (b"Request Header Fields Too Large", b""),
        501: (b"Not Implemented", b""),
        502: (b"Bad Gateway", b""),
        503: (b"Service Unavailable", b"Retry-After: 1\r\n"),
        504: (b"Gateway Timeout", b""),
    }[status]
    body = b"%d %b: %b\n" % (status, phrase, reason)
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Date: %b\r\nCache-Control: no-store\r\n%b%b\r\n%b"
        % (status, phrase, len(body), DATE.encode(), fields, b"" if keep else b"Connection: close\r\n", body)
    )


SERVED = ("request", 200, "ok", "", "a", 1)
ASKED = forwarded(b"GET /x", b"Host: h")
INTRODUCED = ASKED.replace(CLIENT.encode(), b"203.0.113.9")
TUNNEL_ASKED = (
    forwarded(
        b"GET /ws",
        b"Host: h",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
    )[:-2]
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)


def post(*lines, body=b""):
    """A POST of a client."""
    return b"\r\n".join((b"POST /x HTTP/1.1", b"Host: h", *lines, b"", body))


def posted(*lines, body=b""):
    """The same as its backend gets it."""
    head = forwarded(b"POST /x", b"Host: h")[:-2]
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


EXPECTING = posted(b"Content-Length: 5", body=b"hello").replace(b": h\r\n", b": h\r\nExpect: 100-continue\r\n", 1)


def failed(status, reason, by="backend", backend="a", tries=1):
    """A line of the access log."""
    return "request", status, reason, by, backend, tries


REQUESTS = {
    "one request": Playbook(
        [("client", GET), ("a", OK)],
        client=OK,
        hosts={"a": [(ASKED, "")]},
        log=[SERVED],
    ),
    "two pipelined requests on one connection": Playbook(
        [("client", GET + GET), ("a", OK), ("a", OK)],
        client=OK + OK,
        hosts={"a": [(ASKED + ASKED, "")]},
        log=[SERVED, SERVED],
    ),
    "blank lines before a request": Playbook(
        [("client", b"\r\n\r\n" + GET), ("a", OK)],
        client=OK,
        hosts={"a": [(ASKED, "")]},
        log=[SERVED],
    ),
    "an answer without the body it announces, to HEAD": Playbook(
        [("client", b"HEAD" + GET[3:]), ("a", OK[:-2]), ("client", GET), ("a", OK)],
        client=OK[:-2] + OK,
        hosts={"a": [(b"HEAD" + ASKED[3:] + ASKED, "")]},
        log=[SERVED, SERVED],
    ),
    "a chunked answer": Playbook(
        [("client", GET), ("a", CHUNKED)],
        client=CHUNKED,
        hosts={"a": [(ASKED, "")]},
        log=[SERVED],
        framed=True,
    ),
    "a chunked answer for HTTP/1.0": Playbook(
        [("client", GET.replace(b"1.1", b"1.0")), ("a", CHUNKED)],
        client=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        end="eof",
        hosts={"a": [(ASKED, "")]},
        log=[SERVED],
    ),
    "an answer that ends with its connection": Playbook(
        [("client", GET), ("a", b"HTTP/1.1 200 OK\r\n\r\nhello"), ("a", Act.EOF), ("client", GET), ("a", OK)],
        client=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + OK,
        hosts={"a": [(ASKED, "eof"), (ASKED, "")]},
        log=[SERVED, SERVED],
        framed=True,
    ),
    "more than the announced length": Playbook(
        [("client", GET), ("a", OK + b"x"), ("client", GET), ("a", OK)],
        client=OK + OK,
        hosts={"a": [(ASKED, "eof"), (ASKED, "")]},
        log=[SERVED, SERVED],
    ),
    "a client that wants to close": Playbook(
        [("client", GET[:-2] + b"Connection: close\r\n\r\n"), ("a", OK)],
        client=OK[:-4] + b"Connection: close\r\n\r\nok",
        end="eof",
        hosts={"a": [(ASKED, "")]},
        log=[SERVED],
    ),
    "a malformed field": Playbook(
        [("client", b"GET /x HTTP/1.1\r\nNo colon\r\n\r\n")],
        client=error(400, b"a malformed field: a name, a colon right after it, a value"),
        end="eof",
        log=[failed(400, "a malformed field: a name, a colon right after it, a value", "client", "", 0)],
    ),
    "a head that is too long": Playbook(
        [("client", b"GET /x HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 100)],
        client=error(431, b"the request head is too long"),
        end="eof",
        log=[failed(431, "the request head is too long", "client", "", 0)],
        settings={"limits": {"max_head_bytes": 64}},
    ),
    "a client that ends within a head": Playbook(
        [("client", GET[:-4]), ("client", Act.EOF)],
        client=error(400, b"the client closed in the middle of a request head"),
        end="eof",
        log=[failed(400, "the client closed in the middle of a request head", "client", "", 0)],
    ),
    "no token": Playbook(
        [("client", GET)],
        client=error(400, b"the token is missing"),
        end="eof",
        log=[failed(400, "the token is missing", "client", "", 0)],
        settings={"pool": {"token": TokenSettings()}},
    ),
    "a PROXY header": Playbook(
        [("client", PROXY + GET), ("a", OK)],
        client=OK,
        hosts={"a": [(INTRODUCED, "")]},
        log=[SERVED],
        settings={"listener": TRUSTED},
    ),
    "a PROXY header passed on": Playbook(
        [("client", PROXY + GET + GET), ("a", OK), ("a", OK)],
        client=OK + OK,
        hosts={"a": [(PROXY + INTRODUCED + INTRODUCED, "")]},
        log=[SERVED, SERVED],
        settings={"listener": TRUSTED, "pool": {"send_proxy": "v1"}},
    ),
}

UPLOADS = {
    "a body of known length": Playbook(
        [("client", post(b"Content-Length: 5", body=b"hello")), ("a", OK), ("client", GET), ("a", OK)],
        client=OK + OK,
        hosts={"a": [(posted(b"Content-Length: 5", body=b"hello") + ASKED, "")]},
        log=[SERVED, SERVED],
    ),
    "a request right behind a body": Playbook(
        [("client", post(b"Content-Length: 5", body=b"hello") + GET), ("a", OK), ("a", OK)],
        client=OK + OK,
        hosts={"a": [(posted(b"Content-Length: 5", body=b"hello") + ASKED, "")]},
        log=[SERVED, SERVED],
    ),
    "a chunked body": Playbook(
        [("client", post(b"Transfer-Encoding: chunked", body=CHUNKS)), ("a", OK)],
        client=OK,
        hosts={"a": [(posted(b"Transfer-Encoding: chunked", body=CHUNKS), "")]},
        log=[SERVED],
        framed=True,
    ),
    "a body that waits for 100": Playbook(
        [
            ("client", post(b"Expect: 100-continue", b"Content-Length: 5")),
            ("a", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("client", b"hello"),
            ("a", OK),
        ],
        client=b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        hosts={"a": [(EXPECTING, "")]},
        log=[SERVED],
    ),
    "an answer before the whole body": Playbook(
        [("client", post(b"Content-Length: 500", body=b"hello")), ("a", OK)],
        client=OK[:-4] + b"Connection: close\r\n\r\nok",
        end="eof",
        hosts={"a": [(posted(b"Content-Length: 500", body=b"hello"), "eof")]},
        log=[SERVED],
    ),
    "a client that ends within a body": Playbook(
        [("client", post(b"Content-Length: 5", body=b"he")), ("client", Act.EOF)],
        client=error(400, b"the client closed in the middle of its request body"),
        end="eof",
        hosts={"a": [(posted(b"Content-Length: 5", body=b"he"), "eof")]},
        log=[failed(400, "the client closed in the middle of its request body", "client")],
    ),
    "an announced body that is too long": Playbook(
        [("client", post(b"Content-Length: 9"))],
        client=error(413, b"the request body is too long"),
        end="eof",
        log=[failed(413, "the request body is too long", "client", "", 0)],
        settings={"limits": {"max_body_bytes": 8}},
    ),
    "a chunked body that turns out too long": Playbook(
        [("client", post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n")), ("client", b"4\r\nhell\r\n")],
        client=error(413, b"the request body is too long"),
        end="eof",
        log=[failed(413, "the request body is too long", "client")],
        hosts={"a": [(posted(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"), "eof")]},
        settings={"limits": {"max_body_bytes": 5}},
        framed=True,
    ),
}

TUNNELS = {
    "a WebSocket": Playbook(
        [("client", UPGRADE), ("a", SWITCHING), ("client", HELLO), ("a", WORLD), ("client", Act.EOF), ("a", Act.EOF)],
        client=SWITCHED + WORLD,
        end="eof",
        hosts={"a": [(TUNNEL_ASKED + HELLO, "eof")]},
        log=[("open", 101, "ok", "", "a", 1), ("close", 101, "closed", "client", "a", 1)],
    ),
    "frames right behind both heads": Playbook(
        [("client", UPGRADE + HELLO), ("a", SWITCHING + WORLD), ("a", Act.EOF), ("client", Act.EOF)],
        client=SWITCHED + WORLD,
        end="eof",
        hosts={"a": [(TUNNEL_ASKED + HELLO, "eof")]},
        log=[("open", 101, "ok", "", "a", 1), ("close", 101, "closed", "backend", "a", 1)],
    ),
    "an upgrade that the backend refuses": Playbook(
        [("client", UPGRADE), ("a", OK)],
        client=OK,
        hosts={"a": [(TUNNEL_ASKED, "")]},
        log=[SERVED],
    ),
    "an upgrade with the wrong key": Playbook(
        [("client", UPGRADE), ("a", SWITCHING.replace(b"s3pP", b"S3pP"))],
        client=error(502, b"the backend's Sec-WebSocket-Accept does not match the key", keep=True),
        hosts={"a": [(TUNNEL_ASKED, "eof")]},
        log=[failed(502, "the backend's Sec-WebSocket-Accept does not match the key")],
    ),
    "a tunnel that is silent for too long": Playbook(
        [("client", UPGRADE), ("a", SWITCHING), ("clock", 59), ("a", WORLD), ("clock", 59), ("clock", 2)],
        client=SWITCHED + WORLD,
        end="eof",
        hosts={"a": [(TUNNEL_ASKED, "eof")]},
        log=[("open", 101, "ok", "", "a", 1), ("close", 101, "silent for too long", "internal", "a", 1)],
        settings={"timeouts": {"tunnel_idle": 60.0}},
    ),
    "bytes of TCP": Playbook(
        [("client", b"hello"), ("a", b"world"), ("client", Act.EOF), ("a", b"!"), ("a", Act.EOF)],
        client=b"world!",
        end="eof",
        hosts={"a": [(b"hello", "eof")]},
        log=[("open", 0, "ok", "", "a", 1), ("close", 0, "closed", "client", "a", 1)],
        settings={"listener": {"mode": "tcp"}},
    ),
    "TCP without a backend": Playbook(
        [("a", Act.REFUSE), ("b", Act.REFUSE), ("client", b"hello")],
        end="eof",
        log=[("close", 0, "no backend could be reached", "backend", "b", 2)],
        settings={"listener": {"mode": "tcp"}},
    ),
}

FAILURES = {
    "a backend that refuses": Playbook(
        [("a", Act.REFUSE), ("client", GET), ("b", OK)],
        client=OK,
        hosts={"b": [(ASKED, "")]},
        log=[("request", 200, "ok", "", "b", 2)],
    ),
    "all backends refuse": Playbook(
        [("a", Act.REFUSE), ("b", Act.REFUSE), ("client", GET)],
        client=error(503, b"no backend could be reached", keep=True),
        log=[failed(503, "no backend could be reached", backend="b", tries=2)],
    ),
    "a backend that closes without an answer": Playbook(
        [("client", GET), ("a", Act.EOF), ("a", Act.EOF), ("b", OK)],
        client=OK,
        hosts={"a": [(ASKED, "eof"), (ASKED, "eof")], "b": [(ASKED, "")]},
        log=[("request", 200, "ok", "", "b", 3)],
    ),
    "a kept connection that its backend has closed": Playbook(
        [("client", GET), ("a", OK), ("client", GET), ("a", Act.EOF), ("a", OK)],
        client=OK + OK,
        hosts={"a": [(ASKED + ASKED, "eof"), (ASKED, "")]},
        log=[SERVED, ("request", 200, "ok", "", "a", 2)],
    ),
    "a POST without an answer is not sent again": Playbook(
        [("client", post(b"Content-Length: 0")), ("a", Act.EOF)],
        client=error(502, b"the backend closed without an answer", keep=True),
        hosts={"a": [(posted(b"Content-Length: 0"), "eof")]},
        log=[failed(502, "the backend closed without an answer")],
    ),
    "a backend that answers too late": Playbook(
        [("client", GET), ("clock", 6), ("b", OK)],
        client=OK,
        hosts={"a": [(ASKED, "eof")], "b": [(ASKED, "")]},
        log=[("request", 200, "ok", "", "b", 2)],
        settings={"timeouts": {"response": 5.0}},
    ),
    "a backend that stops within its answer": Playbook(
        [("client", GET), ("a", OK[:-1]), ("clock", 61)],
        client=OK[:-1],
        end="eof",
        hosts={"a": [(ASKED, "eof")]},
        log=[failed(200, "the backend stopped in the middle of its answer")],
    ),
    "a backend that closes within its head": Playbook(
        [("client", GET), ("a", OK[:9]), ("a", Act.EOF)],
        client=error(502, b"the backend closed in the middle of the head", keep=True),
        hosts={"a": [(ASKED, "eof")]},
        log=[failed(502, "the backend closed in the middle of the head")],
    ),
    "a backend that closes within its body": Playbook(
        [("client", GET), ("a", OK[:-1]), ("a", Act.EOF)],
        client=OK[:-1],
        end="eof",
        hosts={"a": [(ASKED, "eof")]},
        log=[failed(200, "the backend closed in the middle of its answer")],
    ),
    "a client that leaves before the answer": Playbook(
        [("client", GET), ("client", Act.RESET)],
        end="closed",
        hosts={"a": [(ASKED, "eof")]},
        log=[failed(499, "the client left before the answer was complete", "client")],
    ),
    "no retries": Playbook(
        [("client", GET), ("a", Act.EOF)],
        client=error(502, b"the backend closed without an answer", keep=True),
        hosts={"a": [(ASKED, "eof")]},
        log=[failed(502, "the backend closed without an answer")],
        settings={"pool": {"retry": RetrySettings(count=0)}},
    ),
}

PLAYBOOKS = REQUESTS | UPLOADS | TUNNELS | FAILURES
