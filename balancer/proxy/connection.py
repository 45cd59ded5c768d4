"""A connection of a client: who the peer is, how it came, and how to part from it.

What it asks for is another matter (``balancer.proxy.stream``): requests come one after another over one connection, and
a protocol that carries several at once needs no other kind of connection.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, Literal

from balancer.config.settings import Forwarded
from balancer.errors import ProxyError
from balancer.http.fields import Facts, Fields, visible
from balancer.http.forward import RequestWriter
from balancer.http.head import Request
from balancer.http.proxy_protocol import ProxyHeader, write
from balancer.net.dial import IdleConnections
from balancer.net.engine import Task, TimedOut
from balancer.net.subject import common_name, subject_line
from balancer.net.tls import TlsTransport
from balancer.net.transport import Transport
from balancer.pool.pool import Pool
from balancer.proxy.listener_state import ListenerState
from balancer.proxy.record import Record
from balancer.proxy.worker_state import WorkerState
from balancer.shared.sketch import SketchCells

LINGER_TIMEOUT: Final = 2.0
"""Seconds of silence after which a client has taken the answer that closes its connection."""
MAX_LINGER: Final = 30.0
"""Seconds for which such a client may go on sending what is read and dropped."""


PeerAddress = tuple[str, int] | tuple[str, int, int, int]
"""What the kernel says of a peer: address and port; over IPv6, flow label and scope too."""


class Connection:
    """The connection of one client, from its acceptance to its close."""

    __slots__ = (
        "_facts",
        "address",
        "address_bytes",
        "cells",
        "certified",
        "forwarded",
        "hello",
        "idle",
        "listener",
        "metered",
        "own_idle",
        "peer",
        "proxy",
        "served",
        "server_name",
        "silence",
        "task",
        "tls_seconds",
        "tls_version",
        "transport",
        "trusted",
        "worker",
        "writer",
    )

    task: Task
    """The task that serves it; the owner of its deadline."""

    def __init__(
        self,
        worker: WorkerState,
        listener: ListenerState,
        transport: Transport,
        peer: PeerAddress,
        cells: SketchCells | None = None,
    ) -> None:
        self.worker = worker
        self.listener = listener
        self.transport = transport
        self.cells = cells
        """Cells of the sketch in which its client is counted; None if it is not counted."""
        self.peer = peer
        """Address of the socket's far end."""
        self.proxy: ProxyHeader | None = None
        """The PROXY header that it began with."""
        self.own_idle: defaultdict[object, IdleConnections] | None = None
        """Idle connections to backends that carry its address, and so are for its requests alone."""
        self.trusted = peer[0] in listener.trusted
        """The peer's ``X-Forwarded-*`` and ``X-Request-ID`` fields are believed, whatever client it introduces."""
        mode = listener.config.forwarded
        self.forwarded: Forwarded = "set" if mode == "append" and not self.trusted else mode
        """What hosts get of its forwarding fields."""
        self.identify(peer[0])
        self.server_name = ""
        """The name asked for in the TLS handshake (SNI), in lower case."""
        self.hello = False
        """It began with a ClientHello that is for the host: see ``proxy.tcp``."""
        self.certified = False
        """It has shown a valid certificate."""
        self.tls_version = ""
        self.tls_seconds = 0.0
        self.idle = False
        """It is between two requests: nothing is lost by closing it now."""
        self.served = False
        """It has carried a request."""
        self.silence = 0
        """Bytes received when the client itself has said nothing yet: a PROXY header is not its own; -1 if it has."""
        self.metered = False
        """It has been counted as a new connection of its user."""

    @property
    def silent(self) -> bool:
        """Whether the client has sent no byte, as probes of a balancer in front do."""
        return not self.served and self.transport.received == self.silence

    def identify(self, address: str) -> None:
        """Set the client's IP ``address``: that of the peer, or what a PROXY header says."""
        self.address = address
        self.address_bytes = address.encode()
        self.writer = RequestWriter(self.address_bytes, self.listener.scheme, self.forwarded, self.peer[0].encode())
        self._facts: Facts | None = None

    def is_secure(self, request: Request) -> bool:
        """Return whether the browser sent ``request`` over TLS: to us, or to a balancer that we trust."""
        return self.scheme(request) == b"https"

    def scheme(self, request: Request) -> bytes:
        """Return the scheme of the URL that the client asked for: ``http`` or ``https``."""
        if self.trusted and request.forwarded_proto is not None:
            return b"https" if request.forwarded_proto.lower() == b"https" else b"http"
        return self.listener.scheme

    @property
    def client_port(self) -> int:
        """The client's port, after a PROXY header."""
        port = self.proxy.source_port if self.proxy is not None else None
        return self.peer[1] if port is None else port

    def facts(self) -> Facts:
        """Return what values of header fields may tell about this connection."""
        if self._facts is None:
            subject = self.transport.subject if isinstance(self.transport, TlsTransport) else ()
            proxy, ours = self.proxy or ProxyHeader(), self.transport.sock.getsockname()
            self._facts = Facts(
                client_address=self.address_bytes,
                peer_address=self.peer[0].encode(),
                client_port=b"%d" % self.client_port,
                port=b"%d" % (ours[1] if proxy.destination_port is None else proxy.destination_port),
                scheme=self.listener.scheme,
                tls_version=self.tls_version.encode(),
                sni=visible(self.server_name),
                client_subject=subject_line(subject),
                client_cn=common_name(subject),
                believed=self.forwarded != "set",
            )
        return self._facts

    def edited(self, head: bytes, edits: Iterable[Fields | None], request: Request, request_id: bytes) -> bytes:
        """Return a head with its fields changed, one edit after the other."""
        for fields in edits:
            if fields is not None:
                head = fields.apply(head, self.facts(), request, request_id)
        return head

    def proxy_header(self, version: Literal["v1", "v2"]) -> bytes:
        """Return the PROXY header that introduces this client to a backend."""
        return write(self.proxy or ProxyHeader(*self.peer[:2], *self.transport.sock.getsockname()[:2]), version)

    def log(self, event: str, record: Record, pool: Pool) -> None:
        """Write one line of the access log."""
        self.worker.log.write(
            event,
            record,
            client=self.address,
            listener=self.listener.config.name,
            pool=pool.name,
            tls=self.tls_version,
            now=self.worker.engine.now,
            port=self.client_port,
        )

    async def respond(self, answer: bytes) -> None:
        """Send an answer of our own. Raise ``TimedOut`` if the client has not taken it within ``timeouts.idle``."""
        self.task.expires = self.worker.engine.now + self.worker.timeouts.idle
        await self.transport.send(answer)

    async def linger(self) -> None:
        """Send the end of the stream, and read on what the client was still sending, unless it was cut off.

        Closing a socket with unread bytes makes the kernel send a reset, which can overtake the answer and destroy it
        (RFC 9112, 9.6).
        """
        transport = self.transport
        if transport.fd < 0:
            return
        transport.send_eof()
        engine, task = self.worker.engine, self.task
        until = engine.now + MAX_LINGER
        task.expires = engine.now + LINGER_TIMEOUT
        try:
            await transport.flushed()
            while engine.now < until and await transport.recv():
                task.expires = engine.now + LINGER_TIMEOUT
        except (ProxyError, TimedOut):
            pass  # it has gone, or goes on for ever: either way the answer has been sent
