"""A worker proves that it can serve before it accepts anybody: each listener gets a request of the worker's own.

The request comes over a loopback connection that no listening socket takes part in, and is served like any other: TLS
handshake, head, answer. It is not HTTP, so that the answer is 400 and no backend is asked; the access log shows it.
Listeners in ``tcp`` mode are left out, because whatever is sent there goes to a backend.
"""

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress

import trio

from balancer.proxy.connection import PeerAddress
from balancer.proxy.listener_state import ListenerState
from balancer.proxy.serve import handler
from balancer.proxy.worker_state import WorkerState

TIMEOUT = 5.0
"""Seconds for each step of a request."""
_REQUEST = b"SELF-TEST\r\n\r\n"
_PROXY_HEADER = b"PROXY UNKNOWN\r\n"
_ANSWER = b"HTTP/1.1 400 "
_HOST = "127.0.0.1"


async def test_yourself(worker: WorkerState, listeners: Iterable[ListenerState]) -> str:
    """Serve a request of our own on each listener; return what is wrong with an answer, or an empty string."""
    for listener in [each for each in listeners if each.config.mode == "http"]:
        try:
            with _connected(worker, listener) as client:
                answer = await trio.to_thread.run_sync(_ask, client, listener.tls is not None, _header(listener))
        except OSError as error:  # ssl.SSLError is one
            return f'listener "{listener.config.name}": {error}'
        if not answer.startswith(_ANSWER):
            return f'listener "{listener.config.name}" answers {answer[:40]!r} in place of 400'
    return ""


def _connected(worker: WorkerState, listener: ListenerState) -> socket.socket:
    """Return the client's end of a connection that the worker serves."""
    with socket.create_server((_HOST, 0)) as between:
        client = socket.create_connection(between.getsockname(), TIMEOUT)
        try:
            ours, peer = between.accept()
            ours.setblocking(False)
            worker.engine.spawn(_serve(worker, listener, ours, peer))
        except BaseException:
            client.close()
            raise
    return client


async def _serve(worker: WorkerState, listener: ListenerState, sock: socket.socket, peer: PeerAddress) -> None:
    """Do what an acceptor does, whatever the limits: the client is none."""
    worker.admission.connections.enter()
    listener.connection_limit.enter()
    handler(worker, listener)(sock, peer)


def _header(listener: ListenerState) -> bytes:
    return _PROXY_HEADER if listener.config.proxy_protocol == "accept" and _HOST in listener.trusted else b""


def _ask(client: socket.socket, secure: bool, header: bytes) -> bytes:
    """Send a request, and return the beginning of its answer; blocks."""
    client.sendall(header)
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = context.wrap_socket(client)
    with client:
        client.sendall(_REQUEST)
        answer = b""
        with suppress(ConnectionResetError):
            while len(answer) < len(_ANSWER) and (more := client.recv(4096)):
                answer += more
    return answer
