"""Our own clients: each does one operation after the other, and waits for the answer in between."""

import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from bench.loop import READ, Steps, discard, receive, send
from bench.messages import BULK, MEBIBYTE, field, frame, request

PATIENCE = 20.0
"""Seconds without any answer after which the run has failed."""

ECHOES = {"echo": bytes(range(64)), "quiet": bytes(range(64)), "echo-4k": bytes(range(256)) * 16}
"""What WebSocket clients send; ``quiet`` ones take turns."""


class Wrong(Exception):
    """An answer that should not have come."""


class Gone(Wrong):
    """The connection was closed before anything of the answer came."""


@dataclass(frozen=True)
class Site:
    """Where to connect."""

    port: int
    tls: ssl.SSLContext | None

    def connect(self, session: ssl.SSLSession | None = None) -> socket.socket:
        """A connection whose TLS handshake, if any, is still to be made; the kernel answers at once on loopback."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        if self.tls is None:
            return sock
        return self.tls.wrap_socket(sock, server_hostname="localhost", session=session, do_handshake_on_connect=False)


class Client(ABC):
    """One of the connections, or one after the other."""

    reconnects = 0
    """How often the proxy closed its connection between requests."""

    def open(self) -> Steps:
        """What comes before anything is timed."""
        yield from ()

    @abstractmethod
    def once(self) -> Steps:
        """One operation."""


class Kept(Client):
    """Requests on one connection."""

    def __init__(self, site: Site, first: bytes, body: Sequence[bytes] = ()) -> None:
        self._sock = site.connect()
        self._parts = [first, *body]

    def open(self) -> Steps:
        yield from handshake(self._sock)

    def once(self) -> Steps:
        for part in self._parts:
            yield from send(self._sock, part)
        yield self._sock, READ
        yield from response(self._sock)


class Bystander(Kept):
    """One request, and then a kept connection without a word."""

    def open(self) -> Steps:
        yield from super().open()
        yield from super().once()

    def once(self) -> Steps:
        """Nothing, but the connection must be open."""
        yield from ()
        try:
            self._sock.recv(1)
        except BlockingIOError:
            return
        raise Wrong("an idle connection was closed")


class Returning(Kept):
    """Requests on a kept connection; if it turns out to be closed, on a new one, as browsers do."""

    def __init__(self, site: Site, first: bytes) -> None:
        super().__init__(site, first)
        self._site = site

    def once(self) -> Steps:
        try:
            yield from super().once()
        except (ConnectionError, Gone):
            self.reconnects += 1
            self._sock.close()
            self._sock = self._site.connect()
            yield from super().open()
            yield from super().once()


class Echo(Client):
    """WebSocket messages that come back."""

    def __init__(self, site: Site, upgrade: bytes, payload: bytes) -> None:
        self._sock = site.connect()
        self._upgrade = upgrade
        self._ping = frame(payload, masked=True)
        self._pong = frame(payload, masked=False)

    def open(self) -> Steps:
        yield from handshake(self._sock)
        yield from send(self._sock, self._upgrade)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):  # nothing follows before we speak
            data = yield from receive(self._sock)
            if not data:
                raise Wrong(f"the handshake was cut short: {answer[:40]!r}")
            answer += data
            if not answer.startswith(b"HTTP/1.1 101 "):
                raise Wrong(f"the handshake was refused: {answer[:40]!r}")

    def once(self) -> Steps:
        yield from send(self._sock, self._ping)
        yield self._sock, READ
        received = yield from receive(self._sock)
        while len(received) < len(self._pong):
            data = yield from receive(self._sock)
            if not data:
                raise Wrong("the connection was closed")
            received += data
        if received != self._pong:
            raise Wrong(f"not the echo: {received[:40]!r}")


class Visit(Client):
    """A connection for each request, with a full TLS handshake or, after the first, a resumed one (RFC 8446, 2.2)."""

    def __init__(self, site: Site, first: bytes, *, resumed: bool = False) -> None:
        self._site = site
        self._request = first
        self._resumed = resumed
        self._session: ssl.SSLSession | None = None

    def open(self) -> Steps:
        yield from self.once()  # earns a session ticket

    def once(self) -> Steps:
        sock = self._site.connect(self._session)
        yield from handshake(sock)
        if isinstance(sock, ssl.SSLSocket) and bool(sock.session_reused) != (self._session is not None):
            raise Wrong("the session was resumed" if sock.session_reused else "the session was not resumed")
        yield from send(sock, self._request)
        yield sock, READ
        yield from response(sock)
        if self._resumed and isinstance(sock, ssl.SSLSocket):
            self._session = sock.session
        sock.close()


class Knock(Client):
    """A connection without a word: opened, closed by us, closed by the proxy."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def once(self) -> Steps:
        sock = self._site.connect()
        sock.shutdown(socket.SHUT_WR)
        yield sock, READ
        if (yield from receive(sock)):
            raise Wrong("an answer to nothing")
        sock.close()


def handshake(sock: socket.socket) -> Steps:
    """TLS, where it is spoken."""
    while isinstance(sock, ssl.SSLSocket):
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            yield sock, READ


def response(sock: socket.socket) -> Steps:
    """The whole of a 2xx response; its length is given, or it is chunked without trailers."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        data = yield from receive(sock)
        if not data:
            error = Wrong if received else Gone
            raise error(f"the connection was closed after {received[:40]!r}")
        received += data
    if not received.startswith(b"HTTP/1.1 2"):
        raise Wrong(f"not 2xx: {received[:40]!r}")
    if length := field(received[: end + 2], b"content-length"):
        rest = int(length) - (len(received) - end - 4)
        if rest < 0:
            raise Wrong(f"{-rest} bytes too many")
        yield from discard(sock, rest)
        return
    while not received.endswith(b"\r\n0\r\n\r\n"):
        data = yield from receive(sock)
        if not data:
            raise Wrong("the connection was closed within the body")
        received += data


def client(kind: str, site: Site, token: str) -> Client:
    """A client of this kind."""
    match kind:
        case "echo" | "echo-4k" | "quiet":
            return Echo(site, request("echo", token), ECHOES[kind])
        case "visit" | "resume":
            return Visit(site, request("get", token), resumed=kind == "resume")
        case "knock":
            return Knock(site)
        case "crowd":
            return Bystander(site, request("get", token))
        case "steady":
            return Returning(site, request("many", token))
        case _:
            return Kept(site, request(kind, token), [MEBIBYTE] * BULK if kind == "upload" else ())
