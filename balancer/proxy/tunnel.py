"""A tunnel: bytes both ways after a 101, or of a TCP connection, until both directions have ended or it is closed.

Meanwhile its user holds a lease on the backend. What closes a tunnel from outside (a drain, an operator, the end of the
daemon) raises ``Closed`` in it. A WebSocket is then sent a close frame with code 1012, "service restart", so that its
page connects again; but only between two frames, for bytes in the middle of one would be taken for its payload.
"""

import os
import time
from typing import Final

from balancer.errors import ProxyError, Source
from balancer.http.frames import SERVICE_RESTART, Frames, close_frame
from balancer.net.engine import Closed, TimedOut
from balancer.net.relay import relay
from balancer.net.transport import Transport
from balancer.pool.backend import Backend
from balancer.proxy.stream import Stream
from balancer.proxy.tunnel_registry import Tunnel

CLOSE_FRAME_TIMEOUT: Final = 2.0
"""Seconds within which both sides of a tunnel have to take the close frame that ends it."""


async def tunnel(
    stream: Stream,
    transport: Transport,
    backend: Backend,
    *,
    to_client: bytes = b"",
    to_backend: bytes = b"",
    frames: tuple[Frames, Frames] | None = None,
) -> None:
    """Relay between the client of ``stream`` and ``transport`` to ``backend``; note in its record how it ended.

    ``to_client`` and ``to_backend`` are sent first. ``frames`` follow the frames of a WebSocket to the backend and to
    the client. Raise the ``ProxyError`` of a side that breaks.
    """
    worker, client, task, record = stream.worker, stream.client, stream.task, stream.record
    if worker.log.enabled:
        stream.log("open")
    connection, pool = stream.connection, stream.pool
    listener = connection.listener.config.name
    token, now = stream.token, time.time()
    entry = Tunnel(task, connection.address, listener, pool, token, backend, transport, now, record.token_from)
    worker.tunnel_registry.open(entry)
    try:
        task.expires = worker.engine.now + worker.timeouts.idle
        await client.send(to_client)
        await transport.send(to_backend)
        timeouts = worker.timeouts
        record.by = await relay(task, client, transport, timeouts.tunnel_idle, frames, timeouts.send)
        record.ended = "closed"
    except TimedOut:
        record.ended, record.by = "silent for too long", Source.INTERNAL
    except Closed as closed:
        record.ended, record.by = str(closed), Source.INTERNAL
        if frames is not None:
            task.expires = worker.engine.now + CLOSE_FRAME_TIMEOUT
            await _send_close_frames(client, transport, *frames)
    finally:
        worker.tunnel_registry.close(entry)


async def _send_close_frames(client: Transport, backend: Transport, sent: Frames, answered: Frames) -> None:
    """Send a close frame to each side that is between two frames; to the client first, as the backend may be dead."""
    try:
        if answered.at_boundary:
            await client.flushed()
            await client.send(close_frame(SERVICE_RESTART))
        if sent.at_boundary:
            await backend.flushed()
            await backend.send(close_frame(SERVICE_RESTART, os.urandom(4)))
    except (ProxyError, TimedOut):
        pass  # a side does not take it: it will notice that the connection closes
