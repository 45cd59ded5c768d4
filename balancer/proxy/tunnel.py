"""A tunnel: bytes both ways after a 101, or of a TCP connection, until both sides are done or somebody ends it.

The user holds a lease on the backend meanwhile. Whoever ends the tunnel from outside (a drain, an operator, the end of
the daemon) raises ``Closed`` in it; a WebSocket then hears 1012, "service restart", so that its page comes back, if
that can be said between two frames. A frame is never broken into.
"""

import os

from balancer.errors import ProxyError, Source
from balancer.http.frames import SERVICE_RESTART, Frames, close_frame
from balancer.net.engine import Closed, TimedOut
from balancer.net.relay import relay
from balancer.net.transport import Transport
from balancer.pool.backend import Backend
from balancer.proxy.accesslog import Record
from balancer.proxy.session import Client

GOODBYE = 2.0
"""Seconds in which both sides of a tunnel may take the close frame that ends it."""


async def tunnel(
    client: Client,
    transport: Transport,
    backend: Backend,
    token: bytes | None,
    record: Record,
    *,
    to_client: bytes = b"",
    to_backend: bytes = b"",
    frames: tuple[Frames, Frames] | None = None,
) -> None:
    """Relay between ``client`` and ``transport``; ``record`` says in the end how it ended.

    ``to_client`` and ``to_backend`` are sent first. ``frames`` follow what a WebSocket sends to the backend and to the
    client. A side that breaks raises its ``ProxyError``.
    """
    worker = client.worker
    if worker.log.enabled:
        client.log("open", record)
    with client.tunnel(transport, backend, token):
        try:
            client.task.expires = worker.engine.now + worker.timeouts.idle
            await client.transport.send(to_client)
            await transport.send(to_backend)
            idle, patience = worker.timeouts.tunnel_idle, worker.timeouts.send
            record.by = await relay(client.task, client.transport, transport, idle, frames, patience)
            record.ended = "closed"
        except TimedOut:
            record.ended, record.by = "silent for too long", Source.INTERNAL
        except Closed as closed:
            record.ended, record.by = str(closed), Source.INTERNAL
            if frames is not None:
                await _say_goodbye(client, transport, *frames)


async def _say_goodbye(client: Client, transport: Transport, sent: Frames, answered: Frames) -> None:
    """A close frame to either side that stands between two frames; to the client first, for the host may be dead."""
    client.task.expires = client.worker.engine.now + GOODBYE
    try:
        if answered.at_boundary:
            await client.transport.flushed()
            await client.transport.send(close_frame(SERVICE_RESTART))
        if sent.at_boundary:
            await transport.flushed()
            await transport.send(close_frame(SERVICE_RESTART, os.urandom(4)))
    except (ProxyError, TimedOut):
        pass  # they do not take it: the close of the connection has to do
