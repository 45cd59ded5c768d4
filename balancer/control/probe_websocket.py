"""A probe over WebSocket: a real upgrade, then a ping that has to come back as a pong (RFC 6455, 5.5.2)."""

import contextlib
import os

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError

from balancer.config import model
from balancer.control.probe_http import wish_of
from balancer.control.probe_link import Failed, Link
from balancer.pool.health import Result
from balancer.pool.standing import Wish

GOODBYE = 0.2
"""Seconds for the host to answer our goodbye; the verdict does not depend on it."""


async def ask_websocket(link: Link, config: model.Health, host: str) -> Result:
    """Open a WebSocket on ``path``, ping, wait for the pong, say goodbye. Raises ``Failed``."""
    wire = WSConnection(ConnectionType.CLIENT)
    await link.send(wire.send(Request(host=host, target=config.path)))
    try:
        result = await _converse(link, wire, config)
        if wire.state is ConnectionState.OPEN:
            await _part(link, wire)
    except (ProtocolError, ValueError):  # wsproto decodes fields of the handshake as ASCII, whatever they hold
        raise Failed("the answer is no WebSocket") from None
    return result


async def _converse(link: Link, wire: WSConnection, config: model.Health) -> Result:
    payload = os.urandom(8)
    wish: Wish = ""
    while True:
        await _receive(link, wire)
        replies = b""
        for event in wire.events():
            match event:
                case AcceptConnection():
                    wish = wish_of(event.extra_headers)
                    replies += wire.send(Ping(payload))
                case RejectConnection(status_code=404) if config.drain_on_404:
                    return Result(True, "status 404", "drain")
                case RejectConnection():
                    return Result(False, f"status {event.status_code} instead of an upgrade")
                case Ping():
                    replies += wire.send(event.response())
                case Pong() if event.payload == payload:
                    return Result(True, "pong", wish)
                case CloseConnection():
                    return Result(False, "closed instead of a pong")
        await link.send(replies)


async def _part(link: Link, wire: WSConnection) -> None:
    """Close as hosts expect it, so that their logs do not fill with broken connections."""
    with contextlib.suppress(Failed, ProtocolError), trio.move_on_after(GOODBYE):
        await link.send(wire.send(CloseConnection(CloseReason.NORMAL_CLOSURE)))
        while not any(isinstance(event, CloseConnection) for event in wire.events()):
            await _receive(link, wire)


async def _receive(link: Link, wire: WSConnection) -> None:
    data = await link.receive()
    if not data:
        raise Failed("the connection ended without a pong")
    wire.receive_data(data)
