"""What clients and backends send as HTTP: after every byte of it, we and an independent reader agree on the messages.

The referee is h11 on both sides of the proxy: what the client sent and what its backend gets must be the same list of
messages, and so must what the backend answered and what the client gets. Whatever is refused is refused by
``ProxyError``, whose source is whoever sent it.
"""

import re
from urllib.parse import unquote_to_bytes

import h11

from balancer.config.settings import TokenSettings
from balancer.errors import ProxyError, Source
from balancer.http.body import Chunked, chunk, last_chunk
from balancer.http.forward import RequestWriter, response_head
from balancer.http.head import CHUNKED, UNTIL_CLOSE, Request, find_end, find_response_end, parse_request, parse_response
from balancer.http.head import skip_blank as blank
from balancer.http.token import Place, extract, without_query
from balancer.http.websocket import REFUSAL_FIELDS, check_request, check_response, is_websocket

PATIENT = 1 << 20
"""Bytes of a head that the referee reads at most: more than any input here."""
_FRAMING = re.compile(rb"\n(?i:content-length|transfer-encoding|host)[ \t]*:")
"""In trailers, where we drop them unread and the referee insists on good ones: not judged."""


def requests(data: bytes) -> None:
    """A client's connection: request after request."""
    ours, forwarded = _forwarded_requests(data)
    assert _refereed_requests(forwarded)[: len(ours)] == ours, "the backend sees other requests than we do"
    sent = _refereed_requests(data)
    assert len(sent) >= len(ours), "there are more requests for us than for others"
    for mine, theirs in zip(ours, sent, strict=False):
        if theirs[1].startswith((b"/", b"*")):  # the others are in absolute form, and we reduce them
            assert mine[:2] == theirs[:2], "the client's request line is read in two ways"
        assert mine[2] == theirs[2], "the client's request body is read in two ways"


def responses(data: bytes) -> None:
    """A backend's answer; the first byte chooses the request it is for."""
    method = b"HEAD" if data[:1] == b"H" else b"GET"
    found = _relayed_response(data[1:], method)
    if found is None:
        return
    status, body, relayed = found
    assert _refereed_response(relayed, method, at_end=False)[:2] == (status, body), "the client gets another response"
    theirs = _refereed_response(data[1:], method, at_end=True)
    assert theirs[:2] == (status, body), "the backend's response is read in two ways"


def chunks(data: bytes) -> None:
    """A chunked body, whole and byte by byte; the referee reads the same one."""
    whole = _decoded([data])
    assert _decoded([data[i : i + 1] for i in range(len(data))]) == whole
    if isinstance(whole, tuple):
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=PATIENT)
        reader.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
        assert _events(reader)[1] == whole[0]
        assert reader.trailing_data[0] == whole[1]


def token(data: bytes) -> None:
    """A request target: the first byte chooses the rule, the token is what haproxy's ``url_param`` finds."""
    choice = data[0] if data else 0
    duplicates = "first" if choice & 1 else "refuse"
    rule = TokenSettings(duplicates=duplicates, decode=bool(choice & 2), max_length=64)
    target = data[1:]
    shown = without_query(target)
    assert shown.isascii()
    assert shown.isprintable()
    pieces = [piece.partition(b"=") for piece in target.partition(b"?")[2].split(b"&")]
    values = [value for name, equals, value in pieces if name == b"token" and equals]
    try:
        found = extract(Request(b"GET", target, 1), Place(rule))
    except ProxyError as error:
        assert (error.source, error.status) == (Source.CLIENT, 400)
        assert any(len(value) > 64 for value in values) or len(set(values)) > 1
        return
    wanted = unquote_to_bytes(values[0]) if values and rule.decode else values[0] if values else None
    assert found == (wanted or None)


def upgrade(data: bytes) -> None:
    """Both halves of a handshake, one after the other: after a 101 that passes, both sides have agreed on it."""
    end = data.find(b"\r\n\r\n") + 4
    try:
        request = parse_request(data[:end])
        if is_websocket(request):
            check_request(request)
        response = parse_response(data[end:], request.method)
        check_response(request, response)
    except ProxyError as error:
        assert error.status in {400, 501, 505, 502, *REFUSAL_FIELDS}
        return
    if response.status == 101:
        assert request.upgrade is not None
        assert response.upgrade is not None
        assert response.upgrade.lower() in request.upgrade.lower()
        assert b"h2c" not in response.upgrade.lower()


def _forwarded_requests(data: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], bytes]:
    """The requests as we read them (method, target, body), and the bytes their backends get."""
    found, forwarded = [], b""
    try:
        while True:
            data = data[blank(data) :]
            if (end := find_end(data)) < 0:
                break
            request = parse_request(data[:end])
            data = data[end:]
            head = RequestWriter(b"127.0.0.1", b"https", "set").write(request, b"id")[0]
            trusting = RequestWriter(b"127.0.0.1", b"https", "append").write(request, b"id")[0]
            assert parse_request(trusting).body == parse_request(head).body == request.body
            if request.body == CHUNKED:
                decoder = Chunked(Source.CLIENT)
                body = decoder.feed(data)
                if not decoder.done or _FRAMING.search(data):
                    break
                data = decoder.rest
                framed = chunk(body) + last_chunk(decoder.trailers)
            else:
                body = framed = data[: request.body]
                data = data[request.body :]
                if len(body) < request.body:
                    break
            found.append((request.method, request.target, body))
            forwarded += head + framed
            if request.upgrade is not None or not request.keep_alive:
                break
    except ProxyError as error:
        assert error.source is Source.CLIENT
        assert error.status in {400, 501, 505}
    return found, forwarded


def _refereed_requests(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The same by the referee, who decides himself where each message ends."""
    found = []
    while data := data[blank(data) :]:
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=PATIENT)
        reader.receive_data(data)
        try:
            head, body = _events(reader)
        except h11.RemoteProtocolError:
            break
        if head is None or body is None:
            break
        found.append((head.method, head.target, body))
        data = reader.trailing_data[0]
    return found


def _relayed_response(data: bytes, method: bytes) -> tuple[int, bytes, bytes] | None:
    """Status and body of the final response as we read it, and the bytes its client gets; None if it gets none."""
    try:
        while (end := find_response_end(data)) >= 0:
            response = parse_response(data[:end], method)
            data = data[end:]
            if response.status == 101:
                return None
            if response.status >= 200:
                break
        else:
            return None
        head, framing = response_head(response, 1, True)
        if response.body == CHUNKED:
            decoder = Chunked(Source.BACKEND)
            body = decoder.feed(data)
            if not decoder.done or _FRAMING.search(data):
                return None
            framed = chunk(body) + last_chunk(decoder.trailers)
        elif response.body == UNTIL_CLOSE:
            body, framed = data, chunk(data) + last_chunk(b"")
        else:
            body = framed = data[: response.body]
            if len(body) < response.body:
                return None
        assert (framing == CHUNKED) == (response.body < 0)
        return response.status, body, head + framed
    except ProxyError as error:
        assert (error.source, error.status) == (Source.BACKEND, 502)
        return None


def _refereed_response(data: bytes, method: bytes, *, at_end: bool) -> tuple[int, bytes]:
    """The same by the referee; ``at_end``: the connection is closed after it."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=PATIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    if at_end and not _complete(data, method):
        reader.receive_data(b"")
    head, body = _events(reader)
    assert head is not None
    assert body is not None, "the response does not end for others"
    return head.status_code, body


def _complete(data: bytes, method: bytes) -> bool:
    """Does the response end by itself, for the referee?"""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=PATIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    return _events(reader)[1] is not None


def _events(reader: h11.Connection) -> tuple[h11.Request | h11.Response | None, bytes | None]:
    """The head of the next message and its body; None for what has not come in full."""
    head, body = None, b""
    while True:
        match event := reader.next_event():
            case h11.Request() | h11.Response():
                head = event
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return head, body
            case h11.InformationalResponse():
                pass
            case _:
                return head, None


def _decoded(pieces: list[bytes]) -> tuple[bytes, bytes] | str:
    decoder = Chunked(Source.CLIENT)
    try:
        body = b"".join([decoder.feed(piece) for piece in pieces])
    except ProxyError as error:
        assert (error.source, error.status) == (Source.CLIENT, 400)
        return "refused"
    return (body, decoder.rest) if decoder.done else "incomplete"
