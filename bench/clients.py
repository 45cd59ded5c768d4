"""Our own clients: each does one operation after the other, and waits for the answer in between.

As a program: ``python -m bench.clients KIND PORT CONNECTIONS [CERTIFICATE]`` connects, says ``ready``, and then for
each number of seconds on its standard input prints one result as JSON. The first thing that goes wrong ends it with a
message: an error among the answers makes the whole run worthless.
"""

import json
import socket
import ssl
import sys
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.load import Result
from bench.loop import READ, Loop, Steps, Stuck, discard, receive, send
from bench.messages import BULK, MEBIBYTE, TOKENS, field, frame, request

PATIENCE = 20.0
"""Seconds without any answer after which the run has failed."""
AT_ONCE = 32
"""Connections that are made at a time."""
PAUSE = 0.001
"""Seconds between the operations of quiet clients."""

ECHOES = {"echo": bytes(range(64)), "quiet": bytes(range(64)), "echo-4k": bytes(range(256)) * 16}
"""What WebSocket clients send; ``quiet`` ones take turns."""


class Wrong(Exception):
    """An answer that should not have come."""


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
            raise Wrong(f"the connection was closed after {received[:40]!r}")
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
        case _:
            return Kept(site, request(kind, token), [MEBIBYTE] * BULK if kind == "upload" else ())


def busily(clients: Sequence[Client], seconds: float) -> Result:
    """All clients at once, for so long and until the last answer has come; each does at least one operation."""
    clock = time.perf_counter
    times = array("d")
    began = clock()
    deadline = began + seconds

    def repeat(client: Client) -> Steps:
        now = clock()
        while True:
            yield from client.once()
            before, now = now, clock()
            times.append(now - before)
            if now >= deadline:
                return

    together([repeat(client) for client in clients])
    return _result(times, clock() - began)


def quietly(clients: Sequence[Client], seconds: float) -> Result:
    """One client after the other, with pauses; each does at least one operation."""
    clock = time.perf_counter
    times = array("d")
    began = now = clock()
    while now < began + seconds or len(times) < len(clients):
        together([clients[len(times) % len(clients)].once()])
        times.append(clock() - now)
        time.sleep(PAUSE)
        now = clock()
    return _result(times, now - began)


def together(all_steps: Sequence[Steps]) -> None:
    """Step these until all have ended."""
    loop = Loop()
    for steps in all_steps:
        loop.start(steps)
    loop.run(PATIENCE)


def _result(times: Sequence[float], seconds: float) -> Result:
    ordered = sorted(times)
    count = len(ordered)
    return Result(count, seconds, ordered[count // 2], ordered[count * 99 // 100])


def main(kind: str, port: str, connections: str, certificate: str | None = None) -> None:
    """The program."""
    site = Site(int(port), ssl.create_default_context(cafile=certificate) if certificate else None)
    clients: list[Client] = []
    for first in range(0, int(connections), AT_ONCE):
        group = range(first, min(first + AT_ONCE, int(connections)))
        clients += [client(kind, site, TOKENS[number % len(TOKENS)]) for number in group]
        together([newcomer.open() for newcomer in clients[first:]])
    print("ready", flush=True)
    run = quietly if kind == "quiet" else busily
    for line in sys.stdin:
        print(json.dumps(asdict(run(clients, float(line)))), flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, Stuck, Wrong) as error:
        raise SystemExit(f"{error}") from None
