"""Upgrade handshakes: the real client's and server's pass, and nothing that only looks like one."""

import pytest
from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from balancer.errors import ProxyError, Source
from balancer.http import forward, head, websocket

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3


def asked(*lines: bytes, start=b"GET / HTTP/1.1", connection=b"Upgrade", upgrade=b"websocket") -> head.Request:
    fields = [b"Host: a", b"Connection: " + connection, b"Upgrade: " + upgrade, *lines, b"", b""]
    return head.parse_request(b"\r\n".join([start, *fields]))


def good(**changes) -> head.Request:
    return asked(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY, **changes)


def answered(*lines: bytes, status=b"101 Go") -> head.Response:
    return head.parse_response(b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""]), b"GET")


def test_real_handshake_through_both_heads():
    client, server = ClientProtocol(parse_uri("wss://ide.example/term?token=a")), ServerProtocol()
    client.send_request(client.connect())
    request = head.parse_request(b"".join(client.data_to_send()))
    assert websocket.is_websocket(request)
    websocket.check_request(request)
    server.receive_data(forward.RequestWriter(b"192.0.2.7", b"https", "set").write(request, b"id")[0])
    server.send_response(server.accept(server.events_received()[0]))
    response = head.parse_response(b"".join(server.data_to_send()), b"GET")
    websocket.check_response(request, response)
    client.receive_data(forward.response_head(response, 1, True)[0])
    assert client.handshake_exc is None
    assert client.state.name == "OPEN"


def test_what_asks_for_a_websocket():
    assert websocket.is_websocket(good())
    assert websocket.is_websocket(good(upgrade=b"WebSocket", connection=b"keep-alive, UPGRADE"))
    assert websocket.is_websocket(good(upgrade=b"other, websocket"))
    assert not websocket.is_websocket(good(upgrade=b"websockets"))
    assert not websocket.is_websocket(good(connection=b"keep-alive"))
    assert not websocket.is_websocket(good(start=b"GET / HTTP/1.0"))


VERSION, RFC_KEY = b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (good(start=b"POST / HTTP/1.1"), 405),
        (asked(RFC_KEY), 426),
        (asked(RFC_KEY, b"Sec-WebSocket-Version: 8"), 426),
        (asked(RFC_KEY, VERSION, VERSION), 426),
        (asked(VERSION), 400),
        (asked(VERSION, RFC_KEY, RFC_KEY), 400),
        (asked(VERSION, b"Sec-WebSocket-Key: "), 400),
        (asked(VERSION, b"Sec-WebSocket-Key: c2hvcnQ="), 400),
        (asked(VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZZ=="), 400),
        (asked(VERSION, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400),
        (asked(VERSION, RFC_KEY, b"Content-Length: 5"), 400),
        (asked(VERSION, RFC_KEY, b"Transfer-Encoding: chunked"), 400),
        (asked(VERSION, RFC_KEY, connection=b"Upgrade, Sec-WebSocket-Key"), 400),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "request",
)
def test_refused_requests(request_, status):
    with pytest.raises(ProxyError) as caught:
        websocket.check_request(request_)
    assert (caught.value.source, caught.value.status) == (Source.CLIENT, status)
    assert (status in websocket.REFUSAL_FIELDS) is (status != 400)


def test_true_answer():
    websocket.check_request(good())
    switched = [b"connection: upgrade", b"upgrade: WebSocket", b"sec-websocket-accept: " + ACCEPT]
    websocket.check_response(good(), answered(*switched))
    websocket.check_response(good(), answered(b"Content-Length: 0", status=b"403 No"))


CONNECTION, UPGRADE, TRUE = b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: " + ACCEPT


@pytest.mark.parametrize(
    "lines",
    [
        [CONNECTION, UPGRADE],
        [CONNECTION, UPGRADE, b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="],
        [CONNECTION, UPGRADE, TRUE, TRUE],
        [CONNECTION, TRUE],
        [UPGRADE, TRUE],
        [CONNECTION, b"Upgrade: other", TRUE],
        [CONNECTION, b"Upgrade: websocket, other", TRUE],
        [],
    ],
)
def test_false_answers(lines):
    with pytest.raises(ProxyError) as caught:
        websocket.check_response(good(), answered(*lines))
    assert (caught.value.source, caught.value.status) == (Source.BACKEND, 502)


def test_other_protocols():
    request = asked(upgrade=b"a/1, b")
    websocket.check_response(request, answered(CONNECTION, b"Upgrade: A/1"))
    for lines in ([CONNECTION, b"Upgrade: c"], [CONNECTION, UPGRADE, TRUE], [CONNECTION]):
        with pytest.raises(ProxyError):
            websocket.check_response(request, answered(*lines))


def test_nobody_asked():
    request = head.parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(ProxyError):
        websocket.check_response(request, answered(CONNECTION, UPGRADE, TRUE))
