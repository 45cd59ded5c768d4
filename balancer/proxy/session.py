"""A client connection as its requests see it: who the client is, how to answer it, how to part from it."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Literal

from balancer.errors import ProxyError, Source
from balancer.http.forward import RequestWriter
from balancer.http.head import Request
from balancer.http.proxy_protocol import ProxyHeader, write
from balancer.http.token import extract
from balancer.net.admission import client_key
from balancer.net.dial import IdleConnections
from balancer.net.engine import Task, TimedOut
from balancer.net.transport import Transport
from balancer.pool.backend import Backend
from balancer.pool.pool import Pool
from balancer.proxy.accesslog import Record
from balancer.proxy.listener_state import ListenerState
from balancer.proxy.tunnel_registry import Tunnel
from balancer.proxy.worker_state import WorkerState
from balancer.shared.sketch import SketchCells

Outcome = Literal["connect", "timeout", "reset", "5xx"]
"""How a request can fail: see ``pool.health.passive.outcomes``."""
_USERS = ("query", "header", "cookie")
"""Sources of tokens that name a user; what is asked for, or a server name, many have in common."""
LINGER = 2.0
"""Seconds of silence after which a client has taken the answer that closes its connection."""
LINGER_AT_MOST = 30.0
"""Seconds for which it may go on sending what nobody reads any more."""


class Client:
    """One client connection."""

    __slots__ = (
        "address",
        "address_bytes",
        "idle",
        "kept",
        "listener",
        "metered",
        "peer",
        "places",
        "pool",
        "served",
        "server_name",
        "task",
        "tls_seconds",
        "tls_version",
        "transport",
        "trusted",
        "via",
        "worker",
        "writer",
    )

    task: Task

    def __init__(
        self,
        worker: WorkerState,
        listener: ListenerState,
        transport: Transport,
        peer: tuple[str, int],
        places: SketchCells | None = None,
    ) -> None:
        self.worker = worker
        self.listener = listener
        self.pool = listener.pool
        """Where what it asks now belongs."""
        self.transport = transport
        self.places = places
        """Where the client is counted; None if nobody counts."""
        self.peer = peer
        """The socket's other end."""
        self.via: ProxyHeader | None = None
        """What a PROXY header has told of the client."""
        self.kept: defaultdict[object, IdleConnections] | None = None
        """Idle connections to backends that this client alone may use."""
        self.identify(peer[0])
        self.server_name = ""
        """The name it asked for in its TLS handshake, in lower case."""
        self.tls_version = ""
        self.tls_seconds = 0.0
        self.idle = False
        """Between two requests: nothing is lost by closing now."""
        self.served = False
        """It has asked something."""
        self.metered = False
        """It has been counted as a new connection of its user."""

    def identify(self, address: str) -> None:
        """Set the client's IP ``address``: the peer's, or what a PROXY header says."""
        self.address = address
        self.address_bytes = address.encode()
        self.trusted = self.listener.trusts(address)
        """Are the peer's ``X-Forwarded-*`` and ``X-Request-ID`` believed?"""
        self.writer = RequestWriter(self.address_bytes, self.listener.scheme, self.trusted)

    def connections(self) -> defaultdict[object, IdleConnections]:
        """The idle connections to choose from: everybody's, or the client's own where they carry its address."""
        if self.pool.settings.send_proxy == "off":
            return self.worker.idle
        if self.kept is None:
            self.kept = defaultdict(IdleConnections)
        return self.kept

    def proxy_header(self) -> bytes:
        """What a backend is told of the client at the beginning of a connection."""
        version = self.pool.settings.send_proxy
        assert version != "off"
        return write(self.via or ProxyHeader(*self.peer[:2], *self.transport.sock.getsockname()[:2]), version)

    def choose_pool(self, request: Request | None) -> None:
        """Follow the routes of the listener, which has some; without a request, only those by server name are left."""
        listener = self.listener
        assert listener.routes is not None
        if request is None:
            name = listener.routes.of_connection(self.server_name)
        else:
            name = listener.routes.of_request(request, self.server_name)
        self.pool = listener.pool if name is None else listener.pools[name]

    def token(self, request: Request, record: Record) -> bytes | None:
        """The key to place a request by; None when the pool spreads those without a token."""
        rule = self.pool.settings.token
        token = self.address_bytes if rule.source == "client_ip" else extract(request, rule)
        if token is None:
            match rule.missing:
                case "reject":
                    raise ProxyError(Source.CLIENT, 400, "the token is missing")
                case "spread":
                    return None
                case "client_ip":
                    token = self.address_bytes
        if self.worker.log.enabled:
            record.digest = self.worker.digest(token)
        if rule.rate and not self.metered:
            self._meter(token)
        return token

    def _meter(self, token: bytes) -> None:
        """Count a new connection of this token. Raises 429 if there are too many."""
        worker, rule = self.worker, self.pool.settings.token
        places = worker.admission.shared_counters.places(self.pool.name.encode() + b"\0" + token)
        wait = worker.tokens.take(places, worker.admission.clock(), rule.rate, rule.burst)
        if wait:
            self.pool.refused += 1
            error = ProxyError(Source.CLIENT, 429, "this user makes too many connections")
            error.retry_after = ceil(wait)
            raise error
        self.metered = True

    def may_see(self, trace: bytes) -> bool:
        """May the client be told why it was placed where it was? Trusted networks may, and who has a pass."""
        return self.trusted or self.worker.passes.valid(trace, time.time())

    @contextmanager
    def tunnel(self, transport: Transport, backend: Backend, token: bytes | None) -> Iterator[None]:
        """Have a tunnel to ``backend`` on the roll while it is open; the user's other connections follow it."""
        listener, tunnel_registry = self.listener, self.worker.tunnel_registry
        tunnel = Tunnel(self, listener.config.name, self.pool, token, backend, transport, time.time())
        tunnel_registry.open(tunnel)
        try:
            yield
        finally:
            tunnel_registry.close(tunnel)

    def blame(self, backend: Backend, token: bytes | None, outcome: Outcome) -> bool:
        """A request has failed, and not through its client; does that count in this pool?"""
        passive = self.pool.settings.health.passive
        if passive.mode == "off" or outcome not in passive.outcomes:
            return False
        digest, address = self.worker.digest, client_key(self.address)
        named = self.listener.config.mode == "http" and self.pool.settings.token.source in _USERS
        backend.tally.fail(digest(address), digest(token if named and token else address))
        return True

    def log(self, event: str, record: Record) -> None:
        """One line of the access log."""
        self.worker.log.write(
            event,
            record,
            client=self.address,
            listener=self.listener.config.name,
            pool=self.pool.name,
            tls=self.tls_version,
            now=self.worker.engine.now,
        )

    async def say(self, answer: bytes) -> None:
        """Send an answer of our own; a client that does not take it is not waited for beyond the idle time."""
        self.task.expires = self.worker.engine.now + self.worker.timeouts.idle
        await self.transport.send(answer)

    async def linger(self) -> None:
        """Say that nothing more follows and read what the client was still sending; not if it was cut off.

        Closing a socket with unread bytes makes the kernel send a reset, which can overtake the answer and destroy it
        (RFC 9112, 9.6).
        """
        transport = self.transport
        if transport.fd < 0:
            return
        transport.send_eof()
        engine, task = self.worker.engine, self.task
        until = engine.now + LINGER_AT_MOST
        task.expires = engine.now + LINGER
        try:
            await transport.flushed()
            while engine.now < until and await transport.recv():
                task.expires = engine.now + LINGER
        except (ProxyError, TimedOut):
            pass  # it has gone, or it never stops: either way we have said what we had to say


def explanation(record: Record, pool: Pool) -> bytes:
    """The decision as a field line of the response."""
    skipped = "".join(f"; skipped={name} ({why})" for name, why in record.skipped)
    ring = pool.placement.ring.fingerprint
    return f"X-Balancer-Decision: {record.reason}; backend={record.backend}; ring={ring}{skipped}\r\n".encode()
