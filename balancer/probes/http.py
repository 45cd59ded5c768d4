"""A probe over HTTP/1.1: one request, and what its answer says about the backend."""

import re
from collections.abc import Iterable

import h11

from balancer.config.pool import HealthConfig
from balancer.health.availability import RequestedState
from balancer.health.results import Result
from balancer.probes.connection import ProbeConnection, ProbeFailed

HEADER = b"balancer-health"
"""Response header by which a host asks for less: a key of ``REQUESTED_STATES``, or a share of its weight."""
REQUESTED_STATES: dict[bytes, RequestedState] = {b"degraded": "degraded", b"drain": "drain"}
HASH = b"balancer-hash"
"""Response header in which a balancer names the hash that it places tokens by; see ``ring.hashes``."""
_HASH_NAME = re.compile(rb"[a-z0-9 -]{1,40}")
_WEIGHT = re.compile(rb"degraded[ \t]*;[ \t]*weight=([0-9]{1,2})%")
MAX_HEAD = 16384
MAX_BODY = 16384
"""Bytes of the body in which the expected text is looked for."""


def health_request(config: HealthConfig, host: str) -> h11.Request:
    """What is asked; the same object may be sent any number of times."""
    headers = [("Host", host), ("User-Agent", "balancer-health"), ("Connection", "close")]
    return h11.Request(method=config.method, target=config.path, headers=headers)


async def ask_http(link: ProbeConnection, config: HealthConfig, request: h11.Request) -> Result:
    """Send the request and judge the answer. Raises ``ProbeFailed``."""
    wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    await link.send((wire.send(request) or b"") + (wire.send(h11.EndOfMessage()) or b""))
    try:
        answer = await _answer(link, wire)
        if answer.status_code == 404 and config.drain_on_404:
            return Result(True, "status 404", "drain")
        if not {str(answer.status_code), f"{answer.status_code // 100}xx"} & set(config.expect_status):
            return Result(False, f"status {answer.status_code}")
        if config.expect_body and not await _holds(link, wire, config.expect_body.encode()):
            return Result(False, f"status {answer.status_code}, but not the expected body")
        headers = answer.headers
        asked = requested_state_of(headers), percent_of(headers)
        return Result(True, f"status {answer.status_code}", *asked, _hash_of(headers))
    except h11.RemoteProtocolError:
        raise ProbeFailed("the answer is no HTTP/1.1") from None


def requested_state_of(headers: Iterable[tuple[bytes, bytes]]) -> RequestedState:
    """What the host asks for in the headers of an answer."""
    wishes: list[RequestedState] = [
        REQUESTED_STATES.get(value.strip().lower(), "") for name, value in headers if name == HEADER
    ]
    return "drain" if "drain" in wishes else "degraded" if "degraded" in wishes else ""


def percent_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the share of its weight that a host asks for in the headers of an answer; the least of several."""
    asked = (_WEIGHT.fullmatch(value.strip().lower()) for name, value in headers if name == HEADER)
    return min((int(match[1]) for match in asked if match), default=100)


def _hash_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    names = [value.decode() for name, value in headers if name == HASH and _HASH_NAME.fullmatch(value)]
    return names[0] if len(names) == 1 else ""


async def _answer(link: ProbeConnection, wire: h11.Connection) -> h11.Response:
    while True:
        event = wire.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            data = await link.receive()
            if not data:
                raise ProbeFailed("the connection ended without an answer")
            wire.receive_data(data)


async def _holds(link: ProbeConnection, wire: h11.Connection, text: bytes) -> bool:
    """Is the text in the body, or in as much of it as is looked at?"""
    body = b""
    while len(body) < MAX_BODY:
        event = wire.next_event()
        if isinstance(event, h11.Data):
            before = max(0, len(body) - len(text) + 1)
            body += event.data
            if body.find(text, before) >= 0:
                return True
        elif event is h11.NEED_DATA:
            wire.receive_data(await link.receive())
        else:
            break
    return False
