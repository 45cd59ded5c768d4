"""More playbooks: bytes that belong to one message only, clients that end their side, bodies that cannot be read."""

from playbook import Act, Playbook
from playbooks import ASKED, GET, OK, SERVED, error, failed, forwarded, post, posted

UPGRADE = (b"Connection: Upgrade", b"Upgrade: tcp")
ATTACHED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
OPENED = [("open", 101, "ok", "", "a", 1), ("close", 101, "closed", "client", "a", 1)]
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
BOTH_END = [("client", Act.EOF), ("a", Act.EOF)]
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
UNREADABLE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"


def attached(framing, body):
    """An upgraded POST and what follows it, as its backend gets them."""
    return posted(framing, *UPGRADE, body=body + b"stdin\n")


UPGRADED_POSTS = {
    "an upgraded POST whose body comes with its head": Playbook(
        [
            ("client", post(b"Content-Length: 5", *UPGRADE, body=b"hello")),
            ("a", ATTACHED),
            ("client", b"stdin\n"),
            *BOTH_END,
        ],
        client=ATTACHED,
        end="eof",
        hosts={"a": [(attached(b"Content-Length: 5", b"hello"), "eof")]},
        log=OPENED,
    ),
    "an upgraded POST whose tunnel begins with its body": Playbook(
        [("client", post(b"Content-Length: 5", *UPGRADE, body=b"hellostdin\n")), ("a", ATTACHED), *BOTH_END],
        client=ATTACHED,
        end="eof",
        hosts={"a": [(attached(b"Content-Length: 5", b"hello"), "eof")]},
        log=OPENED,
    ),
    "an upgraded POST with a chunked body": Playbook(
        [
            ("client", post(b"Transfer-Encoding: chunked", *UPGRADE, body=CHUNKS + b"stdin\n")),
            ("a", ATTACHED),
            *BOTH_END,
        ],
        client=ATTACHED,
        end="eof",
        hosts={"a": [(attached(b"Transfer-Encoding: chunked", CHUNKS), "eof")]},
        log=OPENED,
        framed=True,
    ),
    "a 101 before the end of the body": Playbook(
        [
            ("client", post(b"Content-Length: 5", *UPGRADE, body=b"he")),
            ("a", ATTACHED),
            ("client", b"llostdin\n"),
            *BOTH_END,
        ],
        client=ATTACHED,
        end="eof",
        hosts={"a": [(attached(b"Content-Length: 5", b"hello"), "eof")]},
        log=OPENED,
    ),
    "a 101 and no more of the body": Playbook(
        [("client", post(b"Content-Length: 5", *UPGRADE, body=b"he")), ("a", ATTACHED), ("clock", 60.1)],
        client=error(408, b"the request body comes too slowly, or not at all"),
        end="eof",
        hosts={"a": [(posted(b"Content-Length: 5", *UPGRADE, body=b"he"), "eof")]},
        log=[failed(408, "the request body comes too slowly, or not at all", "client")],
    ),
}

HALF_CLOSED = {
    "a client that ends its side behind its request": Playbook(
        [("client", GET), ("client", Act.EOF), ("a", OK)],
        client=OK,
        end="eof",
        hosts={"a": [(ASKED, "")]},
        log=[SERVED],
    ),
    "a client that ends its side behind a body": Playbook(
        [("client", post(b"Content-Length: 5", body=b"hello")), ("client", Act.EOF), ("a", STREAM), ("a", CHUNKS)],
        client=STREAM + CHUNKS,
        end="eof",
        hosts={"a": [(posted(b"Content-Length: 5", body=b"hello"), "")]},
        log=[SERVED],
        framed=True,
    ),
    "a client that ends its side behind two requests": Playbook(
        [("client", GET + GET), ("client", Act.EOF), ("a", OK), ("a", OK)],
        client=OK + OK,
        end="eof",
        hosts={"a": [(ASKED + ASKED, "")]},
        log=[SERVED, SERVED],
    ),
    "a client that ends its side, and a backend to be asked again": Playbook(
        [("client", GET), ("client", Act.EOF), ("a", Act.EOF), ("a", OK)],
        client=OK,
        end="eof",
        hosts={"a": [(ASKED, "eof"), (ASKED, "")]},
        log=[("request", 200, "ok", "", "a", 2)],
    ),
}

UNREAD = {
    "sizes of chunks that are padded with blanks": Playbook(
        [("client", GET), ("a", STREAM + b"5  \r\nhello\r\n0 \t\r\nA: b\r\n\r\n")],
        client=STREAM + b"5\r\nhello\r\n0\r\nA: b\r\n\r\n",
        hosts={"a": [(ASKED, "")]},
        log=[SERVED],
        framed=True,
    ),
    "an unreadable body after an interim response": Playbook(
        [("client", post(b"Expect: 100-continue", b"Content-Length: 5")), ("a", CONTINUE), ("a", b"nonsense\r\n\r\n")],
        client=CONTINUE + error(502, b"malformed response head, or different lengths"),
        end="eof",
        hosts={
            "a": [
                (forwarded(b"POST /x", b"Host: h", b"Expect: 100-continue")[:-2] + b"Content-Length: 5\r\n\r\n", "eof")
            ]
        },
        log=[failed(502, "malformed response head, or different lengths")],
    ),
}

REFUSED = {
    "a target that is too long": Playbook(
        [("client", b"GET /" + b"x" * 100)],
        client=error(414, b"the request target is too long"),
        end="eof",
        log=[failed(414, "the request target is too long", "client", "", 0)],
        settings={"limits": {"max_head_bytes": 64}},
    ),
    "a transfer coding that we do not know": Playbook(
        [("client", post(b"Transfer-Encoding: gzip, chunked"))],
        client=error(501, b"a Transfer-Encoding other than chunked"),
        end="eof",
        log=[failed(501, "a Transfer-Encoding other than chunked", "client", "", 0)],
    ),
}

MORE_PLAYBOOKS = UPGRADED_POSTS | HALF_CLOSED | UNREAD | REFUSED
