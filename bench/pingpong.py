"""Our own load generator: connections that each send, wait for the answer, and send again.

As a program: ``python -m bench.pingpong get|echo PORT CONNECTIONS [CERTIFICATE]`` connects, says ``ready``, and then
for each number of seconds on its standard input prints one result as JSON. The first thing that goes wrong ends it
with a message: an error among the answers makes the whole run worthless.
"""

import json
import select
import socket
import ssl
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict

from bench.load import TARGETS, Result

PATIENCE = 10.0
"""Seconds without any answer after which the run has failed."""
PAYLOAD = bytes(range(64))

_HEAD = "GET {target} HTTP/1.1\r\nHost: ide.example\r\n"
_UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_PING = bytes((0x82, 0x80 | len(PAYLOAD), 0, 0, 0, 0)) + PAYLOAD
"""A binary frame (RFC 6455, 5.2) masked with zeros."""
_PONG = bytes((0x82, len(PAYLOAD))) + PAYLOAD


class Wrong(Exception):
    """An answer that should not have come."""


def got_response(received: bytes) -> bool:
    """Is the whole of a 2xx response here?"""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    if not head.startswith(b"HTTP/1.1 2"):
        raise Wrong(f"not 2xx: {head[:40]!r}")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


def got_echo(received: bytes) -> bool:
    """Is the echo here?"""
    if received == _PONG:
        return True
    if not _PONG.startswith(received):
        raise Wrong(f"not the echo: {received[:40]!r}")
    return False


class Talk:
    """One connection."""

    def __init__(self, sock: socket.socket, request: bytes, complete: Callable[[bytes], bool]) -> None:
        self.sock = sock
        self.request = request
        self.sent = 0.0
        self._complete = complete
        self._received = b""

    def receive(self) -> bool:
        """Read what has come; true once the answer is complete."""
        try:
            data = self.sock.recv(16384)
            while isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
                data += self.sock.recv(16384)
        except ssl.SSLWantReadError:  # a session ticket
            return False
        if not data:
            raise Wrong("the connection was closed")
        self._received += data
        if not self._complete(self._received):
            return False
        self._received = b""
        return True


def connect(kind: str, port: int, target: str, context: ssl.SSLContext | None) -> Talk:
    """A connection that is ready to be timed: TLS and WebSocket handshakes are over."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context:
        sock = context.wrap_socket(sock, server_hostname="localhost")
    request = _HEAD.format(target=target).encode()
    if kind == "get":
        talk = Talk(sock, request + b"\r\n", got_response)
    else:
        sock.sendall(request + _UPGRADE.format(key=_KEY).encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            data = sock.recv(1)  # not a byte of what may follow
            if not data:
                raise Wrong(f"the handshake was cut short: {answer[:40]!r}")
            answer += data
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise Wrong(f"the handshake was refused: {answer[:40]!r}")
        talk = Talk(sock, _PING, got_echo)
    sock.setblocking(False)
    return talk


def run(talks: dict[int, Talk], epoll: select.epoll, seconds: float) -> Result:
    """Ping and pong on all connections for so long, and until the last answer has come."""
    clock = time.perf_counter
    times = array("d")
    began = clock()
    deadline = began + seconds
    for talk in talks.values():
        talk.sent = clock()
        talk.sock.send(talk.request)
    waiting = len(talks)
    while waiting:
        events = epoll.poll(PATIENCE)
        if not events:
            raise Wrong(f"{waiting} answers did not come within {PATIENCE:g} s")
        for number, _ in events:
            talk = talks[number]
            if talk.receive():
                now = clock()
                times.append(now - talk.sent)
                if now < deadline:
                    talk.sent = now
                    talk.sock.send(talk.request)
                else:
                    waiting -= 1
    ordered = sorted(times)
    count = len(ordered)
    return Result(count, clock() - began, ordered[count // 2], ordered[count * 99 // 100])


def main(kind: str, port: str, connections: str, certificate: str | None = None) -> None:
    """The program."""
    context = ssl.create_default_context(cafile=certificate) if certificate else None
    epoll = select.epoll()
    talks = {}
    for number in range(int(connections)):
        talk = connect(kind, int(port), TARGETS[number % len(TARGETS)], context)
        talks[talk.sock.fileno()] = talk
        epoll.register(talk.sock.fileno(), select.EPOLLIN)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(run(talks, epoll, float(line)))), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, Wrong) as error:
        raise SystemExit(f"{error}") from None
