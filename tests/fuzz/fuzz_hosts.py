"""What hosts answer to probes and what their agents say: any bytes are a verdict in our own words, in bounded time."""

import base64
import hashlib
import re

import trio
import trio.testing

from balancer.config.pool import HealthConfig
from balancer.health.results import Result
from balancer.probes.agent import parse_report
from balancer.probes.connection import MAX_ANSWER, ProbeFailed
from balancer.probes.http import ask_http, health_request
from balancer.probes.websocket import ask_websocket

KEY = re.compile(rb"Sec-WebSocket-Key: (\S+)\r\n", re.IGNORECASE)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HTTP = [
    HealthConfig(type="http", drain_on_404=True),
    HealthConfig(type="http", expect_body="well"),
    HealthConfig(type="http", method="HEAD"),
    HealthConfig(type="http", expect_status=("404", "5xx")),
]
_WEBSOCKET = HealthConfig(type="websocket", drain_on_404=True)
_WORDS = re.compile(r"[ -~]{1,120}")


class Answering:
    """Stands in for a ``ProbeConnection``: the other side sends ``answer`` in pieces and closes."""

    def __init__(self, answer: bytes, piece: int) -> None:
        self.answer = answer
        self.sent = b""
        self._piece = piece
        self._received = 0

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def receive(self) -> bytes:
        if self._received > MAX_ANSWER:
            raise ProbeFailed("the answer is too long")
        key, pong = KEY.search(self.sent), self.sent[-8:]
        if key is not None:  # an answer may hold what only somebody who has read the request knows
            accept = base64.b64encode(hashlib.sha1(key[1] + GUID, usedforsecurity=False).digest())
            masked = self.sent[-12:-8]
            payload = bytes(byte ^ masked[n % 4] for n, byte in enumerate(pong))
            self.answer = self.answer.replace(b"@ACCEPT@", accept).replace(b"@@PONG@@", payload)
        data, self.answer = self.answer[: self._piece], self.answer[self._piece :]
        self._received += len(data)
        return data


def probe_http(data: bytes) -> None:
    """An answer to a probe over HTTP; the first byte chooses what is expected and how it is cut."""
    choice = data[0] if data else 0
    settings = _HTTP[choice % 4]
    request = health_request(settings, "127.0.0.1:80")
    _judge(ask_http, Answering(data[1:], 7 if choice & 4 else 2048), settings, request)


def probe_websocket(data: bytes) -> None:
    """An answer to a probe over WebSocket, the handshake included."""
    choice = data[0] if data else 0
    _judge(ask_websocket, Answering(data[1:], 7 if choice & 1 else 2048), _WEBSOCKET, "127.0.0.1:80")


def agent(data: bytes) -> None:
    """A line of an agent: percentages, modes and states that exist, and the same for any case and comment."""
    report = parse_report(data)
    assert report.percent is None or 0 <= report.percent <= 100
    assert report.mode in {None, "ready", "drain", "maint"}
    assert report.down in {None, False, True}
    line = re.split(rb"[\r\n]", data, maxsplit=1)[0].partition(b"#")[0]
    assert parse_report(line.upper() + b" # ready 1% up\r\ndown") == report


def _judge(ask, link, *args) -> None:
    try:
        result = trio.run(ask, link, *args, clock=trio.testing.MockClock(autojump_threshold=0))
    except ProbeFailed as error:
        result = Result(False, str(error))
    assert _WORDS.fullmatch(result.text), "a verdict holds what the host sent"
    assert result.requested_state in {"", "degraded", "drain"}
