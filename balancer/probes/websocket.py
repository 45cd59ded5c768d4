"""A probe over WebSocket: a real upgrade, then a ping that has to come back as a pong (RFC 6455, 5.5.2).

It reads the handshake with the data plane's own reader and frames by hand: wsproto and the h11 in it took a quarter of
the time of a probe, and there may be hundreds a second.
"""

import contextlib
import os
import re
from base64 import b64encode
from dataclasses import replace

import trio

from balancer.config.pool import HealthConfig
from balancer.errors import ProxyError
from balancer.health.results import Result
from balancer.http.frames import CLOSE, LONGEST_CONTROL, NORMAL, PING, PONG, client_frame, next_frame
from balancer.http.head import Response, find_response_end, parse_request, parse_response
from balancer.http.websocket import check_response
from balancer.probes.connection import ProbeConnection, ProbeFailed
from balancer.probes.http import HEADER, MAX_HEAD, percent_of, requested_state_of

GOODBYE = 0.2
"""Seconds for the host to answer our goodbye; the verdict does not depend on it."""
NO_WEBSOCKET = "the answer is no WebSocket"
_ASKED = re.compile(rb"(?im)^balancer-health:([^\r\n]*)")
_REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: balancer-health\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)


async def ask_websocket(link: ProbeConnection, config: HealthConfig, host: str) -> Result:
    """Open a WebSocket on ``path``, ping, wait for the pong, say goodbye. Raises ``ProbeFailed``."""
    key = b64encode(os.urandom(16)).decode()
    request = _REQUEST.format(path=config.path, host=host, key=key).encode()
    await link.send(request)
    try:
        response, headers, rest = await _upgrade(link)
        check_response(parse_request(request), response)
    except ProxyError:
        raise ProbeFailed(NO_WEBSOCKET) from None
    if response.status == 404 and config.drain_on_404:
        return Result(True, "status 404", "drain")
    if response.status != 101:
        return Result(False, f"status {response.status} instead of an upgrade")
    result = await _ping(link, rest)
    if not result.ok:
        return result
    return replace(result, requested_state=requested_state_of(headers), percent=percent_of(headers))


async def _upgrade(link: ProbeConnection) -> tuple[Response, list[tuple[bytes, bytes]], bytes]:
    """The head of the answer, those of interim ones left out, what it asks for, and what came after it."""
    data = b""
    while True:
        while (end := find_response_end(data)) >= 0:
            response = parse_response(data[:end], b"GET")
            asked = [(HEADER, value) for value in _ASKED.findall(data, 0, end)]  # not among the fields to forward
            data = data[end:]
            if response.status == 101 or response.status >= 200:
                return response, asked, data
        if len(data) > MAX_HEAD:
            raise ProbeFailed(NO_WEBSOCKET)
        data += await _receive(link)


async def _ping(link: ProbeConnection, data: bytes) -> Result:
    payload = os.urandom(8)
    await link.send(client_frame(PING, payload, os.urandom(4)))
    while True:
        while (frame := next_frame(data)) is not None:
            kind, content, data = frame
            if kind == PONG and content == payload:
                await _part(link, data)
                return Result(True, "pong")
            if kind == CLOSE:
                return Result(False, "closed instead of a pong")
            if kind == PING and len(content) > LONGEST_CONTROL:
                raise ProbeFailed(NO_WEBSOCKET)
            if kind == PING:
                await link.send(client_frame(PONG, content, os.urandom(4)))
        data += await _receive(link)


async def _part(link: ProbeConnection, data: bytes) -> None:
    """Close as hosts expect it, so that their logs do not fill with broken connections."""
    with contextlib.suppress(ProbeFailed), trio.move_on_after(GOODBYE):
        await link.send(client_frame(CLOSE, NORMAL, os.urandom(4)))
        while True:
            while (frame := next_frame(data)) is not None:
                kind, _, data = frame
                if kind == CLOSE:
                    return
            data += await _receive(link)


async def _receive(link: ProbeConnection) -> bytes:
    data = await link.receive()
    if not data:
        raise ProbeFailed("the connection ended without a pong")
    return data
