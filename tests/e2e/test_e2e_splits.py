"""The same bytes in other pieces: smuggling attempts are refused, and no split changes an answer."""

import re
import runpy
from pathlib import Path

import pytest
from echo import Echo
from harness import listener, pool
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import answer, chunked, get

SMUGGLED = get("/smuggled?token=secret-1")
HEADS = runpy.run_path(str(Path(__file__).parent.parent / "http" / "test_smuggling.py"))["ATTEMPTS"]
HEADS.pop("an empty head")  # which is an empty line before the next request

BODIES = {
    "a chunk longer than its size": b"3\r\nabcde\r\n0\r\n\r\n",
    "a size in other digits": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a signed size": b"+3\r\nabc\r\n0\r\n\r\n",
    "space before a size": b" 3\r\nabc\r\n0\r\n\r\n",
    "space after a size": b"3 \r\nabc\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a bare LF after a size": b"3\nabc\r\n0\r\n\r\n",
    "a bare LF after a chunk": b"3\r\nabc\n0\r\n\r\n",
    "a bare LF in an extension": b"3;a\n\r\nabc\r\n0\r\n\r\n",
    "an empty size": b"\r\nabc\r\n0\r\n\r\n",
    "a long extension": b"3;" + b"a" * 1000 + b"\r\nabc\r\n0\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "a trailer without a colon": b"0\r\nGET / HTTP/1.1\r\n\r\n",
}

REQUESTS = [
    get("/a?token=secret-1"),
    get("/chunked?token=secret-2", "Content-Length: 6", method="POST", body=b"\r\nGET "),
    get("/c?token=secret-3", "Transfer-Encoding: chunked", method="PUT", body=chunked(b"abc", b"\r\n0\r\n\r\n")),
    get("/no-content?token=secret-4"),
    b"\r\n" + get("/head?token=secret-5"),
    get("/b?token=secret-1", "Transfer-Encoding: chunked", method="POST", body=chunked(b"x", trailers=b"A: b\r\n")),
]
LAST = [get("/last?token=secret-1", "Connection: close"), get("/", "Content-Length: 2"), b"GET / HTTP/9.9\r\n\r\n"]


@pytest.fixture(scope="module")
def daemon(start, home):
    return start(pool=[pool(home, retry={"count": 0})])


@pytest.fixture(scope="module")
def echoing(start):
    with Echo() as backend:
        yield start(listeners=[listener()], pool=[pool(backend)])


@pytest.mark.parametrize("raw", list(HEADS.values()), ids=list(HEADS))
def test_a_smuggling_head_is_refused(daemon, backend, raw):
    with daemon.connect() as client:
        client.send(raw.replace(b" / ", b" /?token=secret-1 ", 1) + SMUGGLED)
        assert client.response().status == 400
        assert client.rest() == b""
    assert backend.untouched()


@pytest.mark.parametrize("body", list(BODIES.values()), ids=list(BODIES))
def test_a_smuggling_body_is_refused(daemon, backend, body):
    with daemon.connect() as client:
        client.send(get("/?token=secret-1", "Transfer-Encoding: chunked", method="POST"))
        peer = backend.accept()
        peer.head()
        client.send(body + SMUGGLED)
        assert client.response().status == 400
        assert client.rest() == b""
    got = peer.rest()
    assert b"smuggled" not in got
    assert not got.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: -1"],
        ["Transfer-Encoding: gzip"],
        ["Content-Length : 5"],
    ],
)
def test_an_ambiguous_answer_is_not_passed_on(daemon, backend, lines):
    with daemon.connect() as client:
        client.send(get())
        peer = backend.accept()
        peer.request()
        peer.send("\r\n".join(["HTTP/1.1 200 OK", *lines, "", "5\r\nabcde\r\n0\r\n\r\n"]).encode())
        assert client.response().status == 502
        assert peer.ended()


DATE = re.compile(rb"\r\nDate: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")


def answers(daemon, pieces):
    """What the daemon answers, at a second that does not matter."""
    with daemon.connect() as client:
        for piece in pieces:
            client.send(piece)
        return DATE.sub(b"\r\nDate: now\r\n", client.rest())


@settings(max_examples=25)
@given(st.data())
def test_no_split_changes_an_answer(echoing, data):
    requests = [*data.draw(st.lists(st.sampled_from(REQUESTS), max_size=4)), data.draw(st.sampled_from(LAST))]
    raw = b"".join(requests)
    whole = answers(echoing, [raw])
    assert len(re.findall(rb"HTTP/1\.1 \d", whole)) == len(requests)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=8)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert answers(echoing, pieces) == whole


@pytest.mark.parametrize("last", LAST)
def test_byte_by_byte(echoing, last):
    raw = b"".join(REQUESTS) + last
    assert answers(echoing, [bytes([each]) for each in raw]) == answers(echoing, [raw])


def mutated(valid):
    """A valid message with a few bytes changed, put in or left out.

    Without the ``?`` a token is part of the path, which is logged: so these are none the harness looks for.
    """
    valid = valid.replace(b"secret-", b"noise-")
    edits = st.lists(
        st.tuples(st.integers(0, len(valid)), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4
    )

    def edit(changes):
        raw = valid
        for position, cut, put in changes:
            raw = raw[:position] + put + raw[position + cut :]
        return raw

    return edits.map(edit)


@settings(max_examples=50)
@given(st.one_of(st.binary(), mutated(b"".join(REQUESTS)), mutated(SMUGGLED)))
def test_noise_from_clients(echoing, noise):
    """Whatever it is, the connection ends once the client has, and the daemon is none the worse."""
    with echoing.connect() as client:
        client.send(noise)
        client.end()
        while not client.ended():
            pass
    assert answers(echoing, [LAST[0]]).startswith(b"HTTP/1.1 201 ")


@settings(max_examples=50)
@given(
    st.one_of(
        st.binary(max_size=500),
        mutated(answer(b"0123456789", "X-Field: a")),
        mutated(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abcdef", b"ghi")),
    )
)
def test_noise_from_backends(daemon, home, noise):
    """The client gets an answer it can read, or a connection that breaks off; never bytes that are no HTTP."""
    try:
        with daemon.connect() as client:
            client.send(get("/?token=secret-1", "Connection: close"))
            with home.accept() as peer:
                peer.request()
                peer.send(noise)
            got = b""
            while data := read_some(client):
                got += data
    finally:
        home.forget()
    assert not got or re.match(rb"HTTP/1\.1 [1-9]\d\d [\t -\x7e\x80-\xff]*\r\n", got)


def read_some(client):
    try:
        return client.more()
    except ConnectionError:
        return b""


def test_a_blank_line_before_a_request_may_be_cut_in_two(echoing):
    # RFC 9112, 2.2. The first answer tells that the CR after its request has been read.
    with echoing.connect() as client:
        client.send(get("/first?token=secret-1") + b"\r")
        assert client.response().status == 201
        client.send(b"\n" + get("/second?token=secret-1"))
        assert client.response().status == 201
