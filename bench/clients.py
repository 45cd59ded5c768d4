"""Our own clients: each does one operation at a time and waits for the answer."""

import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from bench.loop import READ, Steps, discard, receive, send
from bench.messages import BULK, MEBIBYTE, field, frame, request

ANSWER_TIMEOUT = 20.0
"""Seconds without any answer after which the run fails."""

ECHOES = {"echo": bytes(range(64)), "quiet": bytes(range(64)), "echo-4k": bytes(range(256)) * 16}
"""Payloads of WebSocket clients by kind; ``quiet`` clients take turns."""


class WrongAnswer(Exception):
    """An unexpected answer, or none."""


class NoAnswer(WrongAnswer):
    """The connection was closed before the first byte of the answer."""


@dataclass(frozen=True)
class Target:
    """The port to connect to, with TLS if ``tls`` is set."""

    port: int
    tls: ssl.SSLContext | None

    def connect(self, session: ssl.SSLSession | None = None) -> socket.socket:
        """Connect; the TLS handshake, if any, is left to ``handshake``. On loopback, connecting does not block."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        if self.tls is None:
            return sock
        return self.tls.wrap_socket(sock, server_hostname="localhost", session=session, do_handshake_on_connect=False)


class Client(ABC):
    """A client with one connection at a time."""

    reconnects = 0
    """How often the proxy closed the connection between requests."""

    def open(self) -> Steps:
        """Prepare for operations; this is not timed."""
        yield from ()

    @abstractmethod
    def once(self) -> Steps:
        """Do one operation."""


class KeepAliveClient(Client):
    """Requests on one connection."""

    def __init__(self, target: Target, first: bytes, body: Sequence[bytes] = ()) -> None:
        self._sock = target.connect()
        self._parts = [first, *body]

    def open(self) -> Steps:
        yield from handshake(self._sock)

    def once(self) -> Steps:
        for part in self._parts:
            yield from send(self._sock, part)
        yield self._sock, READ
        yield from response(self._sock)


class IdleClient(KeepAliveClient):
    """One request, then an idle connection."""

    def open(self) -> Steps:
        yield from super().open()
        yield from super().once()

    def once(self) -> Steps:
        """Do nothing, but check that the connection is open."""
        yield from ()
        try:
            self._sock.recv(1)
        except BlockingIOError:
            return
        raise WrongAnswer("an idle connection was closed")


class ReconnectingClient(KeepAliveClient):
    """Requests on one connection, or on a new one if it turns out to be closed, as browsers do."""

    def __init__(self, target: Target, first: bytes) -> None:
        super().__init__(target, first)
        self._target = target

    def once(self) -> Steps:
        try:
            yield from super().once()
        except (ConnectionError, NoAnswer):
            self.reconnects += 1
            self._sock.close()
            self._sock = self._target.connect()
            yield from super().open()
            yield from super().once()


class EchoClient(Client):
    """WebSocket messages that the backend echoes."""

    def __init__(self, target: Target, upgrade: bytes, payload: bytes) -> None:
        self._sock = target.connect()
        self._upgrade = upgrade
        self._ping = frame(payload, masked=True)
        self._pong = frame(payload, masked=False)

    def open(self) -> Steps:
        yield from handshake(self._sock)
        yield from send(self._sock, self._upgrade)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):  # the server sends nothing more before our first message
            data = yield from receive(self._sock)
            if not data:
                raise WrongAnswer(f"the handshake was cut short: {answer[:40]!r}")
            answer += data
            if not answer.startswith(b"HTTP/1.1 101 "):
                raise WrongAnswer(f"the handshake was refused: {answer[:40]!r}")

    def once(self) -> Steps:
        yield from send(self._sock, self._ping)
        yield self._sock, READ
        received = yield from receive(self._sock)
        while len(received) < len(self._pong):
            data = yield from receive(self._sock)
            if not data:
                raise WrongAnswer("the connection was closed")
            received += data
        if received != self._pong:
            raise WrongAnswer(f"not the echo: {received[:40]!r}")


class ConnectingClient(Client):
    """A connection for each request; over TLS a full handshake or, after the first, a resumed one (RFC 8446, 2.2)."""

    def __init__(self, target: Target, first: bytes, *, resumed: bool = False) -> None:
        self._target = target
        self._request = first
        self._resumed = resumed
        self._session: ssl.SSLSession | None = None

    def open(self) -> Steps:
        yield from self.once()  # to get a session ticket

    def once(self) -> Steps:
        sock = self._target.connect(self._session)
        yield from handshake(sock)
        if isinstance(sock, ssl.SSLSocket) and bool(sock.session_reused) != (self._session is not None):
            raise WrongAnswer("the session was resumed" if sock.session_reused else "the session was not resumed")
        yield from send(sock, self._request)
        yield sock, READ
        yield from response(sock)
        if self._resumed and isinstance(sock, ssl.SSLSocket):
            self._session = sock.session
        sock.close()


class OpenCloseClient(Client):
    """A connection without data: opened, closed by us, closed by the proxy."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def once(self) -> Steps:
        sock = self._target.connect()
        sock.shutdown(socket.SHUT_WR)
        yield sock, READ
        if (yield from receive(sock)):
            raise WrongAnswer("an answer without a request")
        sock.close()


def handshake(sock: socket.socket) -> Steps:
    """Do the TLS handshake, if the connection has TLS."""
    while isinstance(sock, ssl.SSLSocket):
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            yield sock, READ


def response(sock: socket.socket) -> Steps:
    """Receive a whole 2xx response, which has a Content-Length or is chunked without trailers."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        data = yield from receive(sock)
        if not data:
            error = WrongAnswer if received else NoAnswer
            raise error(f"the connection was closed after {received[:40]!r}")
        received += data
    if not received.startswith(b"HTTP/1.1 2"):
        raise WrongAnswer(f"not 2xx: {received[:40]!r}")
    if length := field(received[: end + 2], b"content-length"):
        rest = int(length) - (len(received) - end - 4)
        if rest < 0:
            raise WrongAnswer(f"{-rest} bytes too many")
        yield from discard(sock, rest)
        return
    while not received.endswith(b"\r\n0\r\n\r\n"):
        data = yield from receive(sock)
        if not data:
            raise WrongAnswer("the connection was closed in the body")
        received += data


def client(kind: str, target: Target, token: str) -> Client:
    """Return a client of this kind of traffic."""
    match kind:
        case "echo" | "echo-4k" | "quiet":
            return EchoClient(target, request("echo", token), ECHOES[kind])
        case "connect" | "tls-full" | "tls-resumed" | "storm":
            return ConnectingClient(target, request("get", token), resumed=kind == "tls-resumed")
        case "open-close":
            return OpenCloseClient(target)
        case "idle":
            return IdleClient(target, request("get", token))
        case "steady":
            return ReconnectingClient(target, request("many", token))
        case _:
            return KeepAliveClient(target, request(kind, token), [MEBIBYTE] * BULK if kind == "upload" else ())
