"""From an accepted socket to its close: count the client, greet it, and serve it by the mode of its listener."""

import math
import socket
from collections.abc import Callable
from typing import Any

from balancer.errors import ProxyError, Source
from balancer.net.engine import TimedOut
from balancer.net.peers import probe_when_silent
from balancer.net.transport import PlainTransport, reset
from balancer.proxy.connection import Connection, PeerAddress
from balancer.proxy.greeting import greet
from balancer.proxy.http_connection import serve_http
from balancer.proxy.listener_state import ListenerState
from balancer.proxy.tcp import serve_tcp
from balancer.proxy.worker_state import WorkerState


def handler(worker: WorkerState, listener: ListenerState) -> Callable[[socket.socket, Any], None]:
    """Return what an acceptor of ``listener`` does with each socket it accepts."""

    def handle(sock: socket.socket, peer: PeerAddress) -> None:
        listener.connections += 1
        admission, cells = worker.admission, None
        if (
            admission.per_client and peer[0] not in listener.trusted
        ):  # a trusted balancer in front stands for many clients
            cells = admission.admit(peer[0])
            if cells is None:
                reset(sock)
                worker.leave(listener)
                return
        try:
            transport = PlainTransport(worker.engine, sock, Source.CLIENT, None)
        except BaseException:  # no memory, or no more watches (epoll_ctl(2)); the acceptor closes the socket
            if cells is not None:
                admission.depart(cells)
            raise
        connection = Connection(worker, listener, transport, peer, cells)
        probe_when_silent(sock, worker.timeouts.tcp_keepalive)
        if listener.tls is not None:
            admission.handshakes.begin(transport)
        connection.task = transport.task = worker.engine.spawn(_serve(connection, transport))

    return handle


async def _serve(connection: Connection, plain: PlainTransport) -> None:
    worker = connection.worker
    worker.connections.add(connection)
    try:
        early = await greet(connection, plain)
        if connection.listener.config.mode == "tcp":
            await serve_tcp(connection, early)
        else:
            await serve_http(connection, early)
    except (ProxyError, TimedOut):
        pass  # logged where it happened; here it only ends the connection
    finally:
        if connection.silent:
            connection.listener.silent += 1
        connection.transport.close()
        if connection.own_idle is not None:
            for connections in connection.own_idle.values():
                connections.expire(math.inf)
        worker.remove(connection)
