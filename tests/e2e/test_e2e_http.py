"""HTTP/1.1 through the real daemon, both ends in bytes: what arrives at the backend, what comes back, what is kept."""

import pytest
from harness import listener, pool
from wire import answer, chunked, get


@pytest.fixture(scope="module")
def daemon(start, home):
    listeners = [
        listener(),
        listener("inner", trusted=["127.0.0.0/8"]),
    ]
    return start(
        listeners=listeners,
        pool=[pool(home)],
        limits={"max_head_bytes": 2048},
        timeouts={"head": "300ms", "response": "1s", "idle": "1s", "tunnel_idle": "1s"},
    )


@pytest.fixture(scope="module")
def strict(start, home):
    return start(pool=[pool(home)], limits={"max_body_bytes": 1000})


@pytest.fixture
def client(daemon):
    with daemon.connect() as peer:
        yield peer


def served(backend, client, request, response, method="GET"):
    """What the backend got and what the client got for it."""
    client.send(request)
    peer = backend.peer()
    arrived = peer.request()
    peer.send(response)
    return arrived, client.response(method)


class TestConnections:
    def test_both_sides_are_kept(self, backend, client):
        for number in range(3):
            arrived, response = served(backend, client, get(f"/{number}?token=secret-1"), answer(b"%d" % number))
            assert arrived.start == f"GET /{number}?token=secret-1 HTTP/1.1"
            assert response.body == b"%d" % number
        assert backend.untouched()

    def test_a_kept_backend_connection_serves_other_clients(self, backend, daemon):
        for _ in range(2):
            with daemon.connect() as client:
                served(backend, client, get(), answer())
        assert len(backend.peers) == 1

    def test_a_backend_that_says_close_is_not_asked_again_on_that_connection(self, backend, client):
        served(backend, client, get(), answer(b"1", "Connection: close"))
        client.send(get())
        peer = backend.accept()
        peer.request()
        peer.send(answer(b"2"))
        assert client.response().body == b"2"

    def test_a_kept_connection_that_its_backend_has_closed_costs_no_request(self, backend, client):
        served(backend, client, get(), answer())
        backend.peer().close()
        _, response = served(backend, client, get(), answer(b"again"))
        assert response.body == b"again"

    def test_a_get_is_sent_again_when_the_kept_connection_closes_under_it(self, backend, client):
        served(backend, client, get(), answer())
        client.send(get("/again?token=secret-1"))
        backend.peer().request()
        backend.peer().close()
        _, response = served(backend, client, b"", answer(b"second try"))
        assert response.body == b"second try"

    def test_a_post_is_never_sent_twice(self, backend, client, daemon):
        served(backend, client, get(), answer())
        client.send(get("/once?token=secret-1", "Content-Length: 2", method="POST", body=b"hi"))
        backend.peer().request()
        backend.peer().close()
        assert client.response().status == 502
        assert backend.untouched()
        assert daemon.logged(path="/once")["by"] == "backend"

    @pytest.mark.parametrize("when", ["along", "later"])
    def test_a_backend_that_speaks_out_of_turn_is_not_heard(self, backend, client, when):
        """Whatever follows an answer unasked must not become the answer to somebody else's request."""
        client.send(get())
        peer = backend.accept()
        peer.request()
        peer.send(answer(b"1") + (answer(b"poison") if when == "along" else b""))
        assert client.response().body == b"1"
        if when == "later":
            peer.send(answer(b"poison"))
        client.send(get())
        other = backend.accept()
        other.request()
        other.send(answer(b"2"))
        assert client.response().body == b"2"
        assert peer.ended()

    def test_an_old_backend_is_not_asked_again_on_that_connection(self, backend, client):
        served(backend, client, get(), b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")
        client.send(get())
        assert backend.accept().request().start.endswith("HTTP/1.1")

    def test_the_client_may_ask_to_close(self, backend, client):
        _, response = served(backend, client, get("/?token=secret-1", "Connection: close"), answer(b"bye"))
        assert response["connection"] == "close"
        assert client.ended()

    def test_pipelined_requests_are_answered_in_order(self, backend, client):
        client.send(b"".join(get(f"/{n}?token=secret-1") for n in range(5)))
        peer = backend.accept()
        for n in range(5):
            assert peer.request().target == f"/{n}?token=secret-1"
            peer.send(answer(b"%d" % n))
        assert [client.response().body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]

    def test_a_request_behind_a_body_is_not_part_of_it(self, backend, client):
        client.send(
            get("/a?token=secret-1", "Content-Length: 3", method="POST", body=b"abc")
            + get("/b?token=secret-1", "Transfer-Encoding: chunked", method="POST", body=chunked(b"defg"))
            + get("/c?token=secret-1")
        )
        got = []
        for _ in range(3):
            peer = backend.peer()
            got.append(peer.request().body)
            peer.send(answer())
            assert client.response().status == 200
        assert got == [b"abc", b"defg", b""]

    def test_an_idle_client_is_let_go_without_a_word(self, client, backend, daemon):
        served(backend, client, get("/idle?token=secret-1"), answer())
        assert client.ended()
        assert daemon.logged(path="/idle")["ended"] == "ok"

    def test_empty_lines_before_a_request_are_skipped(self, backend, client):
        arrived, _ = served(backend, client, b"\r\n\r\n" + get(), answer())
        assert arrived.start == "GET /?token=secret-1 HTTP/1.1"


class TestOldClients:
    def test_closing_is_the_default(self, backend, client):
        arrived, response = served(backend, client, b"GET /?token=secret-1 HTTP/1.0\r\n\r\n", answer(b"old"))
        assert arrived.start == "GET /?token=secret-1 HTTP/1.1"
        assert arrived["host"] == ""
        assert (response.body, response["connection"]) == (b"old", "close")
        assert client.ended()

    def test_keeping_is_possible(self, backend, client):
        request = get("/?token=secret-1", "Connection: keep-alive", version="1.0")
        for _ in range(2):
            _, response = served(backend, client, request, answer(b"old"))
            assert response["connection"] == "keep-alive"

    def test_chunks_are_laid_bare(self, backend, client):
        response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one ", b"two")
        _, response = served(backend, client, get(version="1.0"), response)
        assert (response["transfer-encoding"], response.body) == (None, b"one two")

    def test_no_interim_response(self, backend, client):
        _, response = served(
            backend, client, get(version="1.0"), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer(b"x")
        )
        assert response.status == 200


class TestBodies:
    @pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 300_000])
    def test_lengths_both_ways(self, backend, client, size):
        body = bytes(range(256)) * (size // 256 + 1)
        body = body[:size]
        request = get("/?token=secret-1", f"Content-Length: {size}", method="POST", body=body)
        arrived, response = served(backend, client, request, answer(body))
        assert arrived["content-length"] == response["content-length"] == str(size)
        assert arrived.body == response.body == body

    def test_chunks_and_trailers_both_ways(self, backend, client):
        body = chunked(b"a" * 1000, b"b", trailers=b"X-Sum: 1\r\nContent-Length: 3\r\n")
        request = get("/?token=secret-1", "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST", body=body)
        response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + body
        for message in served(backend, client, request, response):
            assert message["transfer-encoding"] == "chunked"
            assert message.body == b"a" * 1000 + b"b"
            assert message.trailers == b"X-Sum: 1\r\n"

    def test_a_response_ended_by_close_becomes_chunks(self, backend, client):
        client.send(get())
        with backend.accept() as peer:
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\nuntil ")
            peer.send(b"the end")
        response = client.response()
        assert (response["transfer-encoding"], response.body) == ("chunked", b"until the end")
        assert served(backend, client, get(), answer(b"next"))[1].body == b"next"

    @pytest.mark.parametrize(
        ("method", "head"),
        [
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 1000\r\n\r\n'),
        ],
    )
    def test_responses_without_a_body(self, backend, client, method, head):
        for _ in range(2):
            _, response = served(backend, client, get(method=method), head, method)
            assert response.raw == head
        assert len(backend.peers) == 1

    def test_events_flow_at_once(self, backend, client):
        client.send(get())
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.head()["content-type"] == "text/event-stream"
        for number in range(3):
            event = b"data: %d\n\n" % number
            peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            assert client.exactly(len(event) + 5) == b"9\r\n" + event + b"\r\n"
        peer.send(b"0\r\n\r\n")
        assert client.exactly(5) == b"0\r\n\r\n"

    def test_a_client_that_resets_a_silent_stream_is_noticed(self, backend, daemon):
        client = daemon.connect()
        client.send(get("/stream?token=secret-1"))
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.head()
        client.reset()
        assert peer.ended()
        entry = daemon.logged(path="/stream")
        assert (entry["status"], entry["by"]) == (200, "client")

    def test_an_answer_may_come_before_the_whole_request(self, backend, client):
        client.send(get("/early?token=secret-1", "Content-Length: 20001000", method="POST", body=b"x" * 1000))
        peer = backend.accept()
        peer.head()
        peer.send(answer(b"no thanks", "Connection: close", status="413 Content Too Large"))
        peer.close()
        # The client is in the middle of its body, and reads only when it has sent it all.
        client.send(b"x" * 20_000_000)
        response = client.response()
        assert (response.status, response.body, response["connection"]) == (413, b"no thanks", "close")
        assert client.ended()


class TestInterim:
    def test_continue_is_asked_and_given(self, backend, client):
        client.send(get("/?token=secret-1", "Content-Length: 4", "Expect: 100-continue", method="PUT"))
        peer = backend.accept()
        assert peer.head()["expect"] == "100-continue"
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.head().status == 100
        client.send(b"body")
        assert peer.exactly(4) == b"body"
        peer.send(answer(b"done"))
        assert client.response().body == b"done"

    def test_continue_is_refused(self, backend, client):
        client.send(get("/?token=secret-1", "Content-Length: 4", "Expect: 100-continue", method="PUT"))
        peer = backend.accept()
        peer.head()
        peer.send(answer(status="417 Expectation Failed"))
        assert client.response().status == 417
        # Whether the body comes now, nobody can know: the connection ends.
        assert client.ended()

    def test_early_hints(self, backend, client):
        client.send(get())
        peer = backend.accept()
        peer.request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        hints = client.head()
        assert (hints.status, hints["link"]) == (103, "</style.css>; rel=preload")
        peer.send(answer(b"page"))
        assert client.response().body == b"page"


class TestForwarding:
    HOP_BY_HOP = (
        "Connection: keep-alive, X-Private",
        "X-Private: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Upgrade: h2c",
    )

    def test_hop_by_hop_fields_end_here(self, backend, client):
        arrived, response = served(
            backend,
            client,
            get("/?token=secret-1", *self.HOP_BY_HOP, "X-Public: 1"),
            answer(b"", *self.HOP_BY_HOP, "X-Public: 2"),
        )
        gone = {"connection", "x-private", "keep-alive", "proxy-connection", "te", "upgrade"}
        for message, public in (arrived, "1"), (response, "2"):
            assert not gone & {name for name, _ in message.fields}
            assert message["x-public"] == public

    def test_strangers_are_not_believed(self, backend, client):
        claims = ("X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "X-Request-ID: mine", "X-Real-IP: 9.9.9.9")
        arrived, _ = served(backend, client, get("/?token=secret-1", *claims, "Forwarded: for=9.9.9.9"), answer())
        assert (arrived["x-forwarded-for"], arrived["x-forwarded-proto"]) == ("127.0.0.1", "http")
        assert arrived["x-forwarded-host"] == arrived["host"] == "ide.example"
        assert arrived["x-request-id"] not in (None, "mine")
        assert arrived["forwarded"] is None
        assert arrived["x-real-ip"] is None

    def test_trusted_networks_are(self, backend, daemon):
        claims = ("X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "X-Request-ID: theirs")
        with daemon.connect("inner") as client:
            arrived, _ = served(backend, client, get("/trusted?token=secret-1", *claims), answer())
        assert (arrived["x-forwarded-for"], arrived["x-forwarded-proto"]) == ("9.9.9.9, 127.0.0.1", "https")
        assert arrived["x-request-id"] == "theirs"
        assert daemon.logged(path="/trusted")["request_id"] == "theirs"


class TestRefusals:
    @pytest.mark.parametrize(
        ("request_", "status", "reason"),
        [
            (
                b"GET /" + b"a" * 3000 + b"?token=secret-1 HTTP/1.1\r\nHost: a\r\n\r\n",
                414,
                "the request target is too long",
            ),
            (b"GET /" + b"a" * 3000, 414, "the request target is too long"),
            (b"GET /?token=secret-1", 408, "the request head took too long"),
            (b"GET /?token=secret-1 HTTP/2.0\r\n\r\n", 505, "only HTTP/1.0 and HTTP/1.1 are supported"),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "CONNECT is not supported"),
            (b"\x16\x03\x01\x02\x00\x01\x00", 400, "a control character or a bare CR or LF in the head"),
        ],
    )
    def test_what_is_no_request(self, backend, client, daemon, request_, status, reason):
        response = client.ask(request_)
        assert (response.status, response["connection"]) == (status, "close")
        assert response.body.decode().endswith(f": {reason}\n")
        assert len(response.body) < 100
        assert client.ended()
        entry = daemon.logged(status=status, ended=reason)
        assert (entry["by"], entry["backend"]) == ("client", "")
        assert backend.untouched()

    @pytest.mark.parametrize("early", [True, False])
    @pytest.mark.parametrize("framing", ["Content-Length: 1001", "Transfer-Encoding: chunked"])
    def test_a_body_beyond_the_limit(self, backend, strict, framing, early):
        body = chunked(b"x" * 600, b"y" * 401) if "chunked" in framing else b"x" * 1001
        path = f"/413/{early}/{len(body)}"
        with strict.connect() as client:
            client.send(get(path + "?token=secret-1", framing, method="POST", body=body if early else b""))
            if not early:
                client.send(body)
            response = client.response()
            assert (response.status, response["connection"]) == (413, "close")
            assert response.body.endswith(b": the request body is too long\n")
            assert client.ended()
        assert "chunked" in framing or backend.untouched()
        entry = strict.logged(path=path)
        assert (entry["by"], entry["ended"]) == ("client", "the request body is too long")

    @pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
    def test_a_body_at_the_limit(self, backend, strict, framing):
        body = chunked(b"x" * 600, b"x" * 400) if "chunked" in framing else b"x" * 1000
        with strict.connect() as client:
            request = get("/?token=secret-1", framing, method="POST", body=body)
            arrived, response = served(backend, client, request, answer())
        assert arrived.body == b"x" * 1000
        assert response.status == 200

    def test_a_body_that_stalls(self, backend, client, daemon):
        client.send(get("/stalls?token=secret-1", "Content-Length: 10", method="POST", body=b"12345"))
        assert client.response().status == 408
        assert client.ended()
        assert daemon.logged(path="/stalls")["ended"] == "the request body comes too slowly, or not at all"

    def test_a_body_that_ends_early(self, backend, client, daemon):
        client.send(get("/short?token=secret-1", "Content-Length: 10", method="POST", body=b"12345"))
        client.end()
        assert client.response().status == 400
        entry = daemon.logged(path="/short")
        assert (entry["by"], entry["ended"]) == ("client", "the client closed in the middle of its request body")
        peer = backend.accept()
        peer.head()
        assert peer.exactly(5) == b"12345"
        assert peer.ended()

    def test_a_body_with_broken_chunks(self, backend, client, daemon):
        request = get("/broken?token=secret-1", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabcd\r\n")
        assert client.ask(request).status == 400
        assert client.ended()
        assert daemon.logged(path="/broken")["by"] == "client"

    def test_a_backend_that_does_not_answer(self, backend, client, daemon):
        client.send(get("/slow?token=secret-1"))
        peer = backend.accept()
        peer.request()
        response = client.response()
        assert response.status == 504
        assert peer.ended()
        entry = daemon.logged(path="/slow")
        assert (entry["by"], entry["ended"]) == ("backend", "the backend did not answer in time")

    @pytest.mark.parametrize(
        "nonsense",
        [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"],
    )
    def test_a_backend_that_answers_nonsense(self, backend, client, daemon, nonsense):
        path = f"/nonsense{len(nonsense)}"
        client.send(get(path + "?token=secret-1"))
        for _ in range(1 if nonsense else 2):  # one that says nothing is asked once more
            with backend.accept() as peer:
                peer.request()
                peer.send(nonsense)
        response = client.response()
        assert response.status == 502
        entry = daemon.logged(path=path)
        assert entry["by"] == "backend"
        assert response.body.decode() == f"502 Bad Gateway: {entry['ended']}\n"

    @pytest.mark.parametrize(
        ("head", "reason"),
        [
            (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 3000, "the head of the response is too long"),
            (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 33, "too many interim responses"),
        ],
    )
    def test_a_backend_that_talks_too_much(self, backend, daemon, head, reason):
        with daemon.connect() as client:
            client.send(get(f"/long{len(head)}?token=secret-1"))
            peer = backend.accept()
            peer.request()
            peer.send(head)
            while not client.ended():
                pass
        assert daemon.logged(path=f"/long{len(head)}")["ended"] == reason

    def test_a_client_that_ends_its_side_gets_its_answer(self, backend, daemon):
        with daemon.connect() as client:
            client.send(get("/half?token=secret-1"))
            client.end()
            peer = backend.accept()
            peer.request()
            peer.send(answer(b"done"))
            assert client.response().body == b"done"
            assert client.ended()
        assert daemon.logged(path="/half")["ended"] == "ok"

    def test_a_client_that_resets_while_the_backend_thinks(self, backend, daemon):
        client = daemon.connect()
        client.send(get("/reset?token=secret-1"))
        peer = backend.accept()
        peer.request()
        client.reset()
        assert peer.ended()
        assert daemon.logged(path="/reset")["by"] == "client"
