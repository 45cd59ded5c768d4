"""From a token to a connected backend: walk the candidates until one accepts."""

import logging
import math

from balancer.errors import ProxyError, Retry, Source
from balancer.net.dial import FRESH, dial
from balancer.net.engine import TimedOut
from balancer.net.transport import Transport
from balancer.pool.backend import Backend
from balancer.pool.pool import Decision
from balancer.proxy.accesslog import Record
from balancer.proxy.session import Client

logger = logging.getLogger("balancer.proxy")

PATIENCE = 3.0
"""The walk ends after this many connect timeouts, however many candidates are left."""


class Connector:
    """The candidates of one request or connection, tried in order; nothing has been sent yet, so nothing is lost.

    A request may use an idle connection: an ``idempotent`` one any, others one that served a moment ago, for a backend
    that closes an idle connection while a request is on its way cannot be told from one that has acted on it.
    """

    reused = False
    """The connection last handed out had served before."""

    def __init__(self, client: Client, token: bytes | None, record: Record) -> None:
        plane = self._plane = client.plane
        pool = self.pool = client.pool
        self.token = token
        now = plane.engine.now
        first = pool.first(token, now)
        self._candidates = pool.candidates(token, now, after=first)
        self._decision = first or next(self._candidates, None)
        self._client = client
        self._task = client.task
        self._record = record
        self._until = now + PATIENCE * plane.timeouts.connect
        self._oldest = math.inf
        self.idle = client.connections()
        """Idle connections, and where this one belongs when it is idle."""

    @property
    def backend(self) -> Backend:
        """The backend of the connection last handed out."""
        assert self._decision is not None
        return self._decision.backend

    def kept(self, *, idempotent: bool) -> Transport | None:
        """An idle connection to the best candidate, if there is one: the case of most requests, without waiting."""
        self._oldest = 0.0 if idempotent else self._plane.engine.now - FRESH
        return None if self._decision is None else self._kept(self._decision)

    async def connect(self) -> Transport:
        """A connection to the best candidate that accepts one. Raises 503 when none is left."""
        engine, record = self._plane.engine, self._record
        while (decision := self._decision) is not None and not (record.tries and engine.now > self._until):
            transport = self._kept(decision) or await self._dial(decision)
            if transport is not None:
                return transport
            self._decision = next(self._candidates, None)
        raise ProxyError(Source.BACKEND, 503, "no backend could be reached", Retry.ALWAYS)

    def once_more(self) -> None:
        """The kept connection was no good: from now on fresh ones only, the present candidate first."""
        self._oldest = math.inf

    def _kept(self, decision: Decision) -> Transport | None:
        if self._oldest == math.inf:
            return None
        transport = self.idle[decision.backend].take(self._task, self._oldest)
        if transport is not None:
            self.reused = True
            self._note(decision)
            self._chosen(decision)
        return transport

    async def _dial(self, decision: Decision) -> Transport | None:
        """A fresh connection, or None if this backend does not accept one."""
        engine, backend = self._plane.engine, decision.backend
        self.reused = False
        self._note(decision)
        self._task.expires = engine.now + self._plane.timeouts.connect
        try:
            transport = await self._open(backend)
        except ProxyError as error:
            if error.retry is not Retry.ALWAYS:
                raise
            if not backend.unavailable(engine.now):
                about = {"pool": self.pool.name, "backend": backend.name}
                words = "backend %s (%s): %s; trying others first"
                logger.warning(words, backend.name, backend.address, error, extra=about)
            backend.connect_failed(engine.now)
            self._client.blame(backend, self.token, "connect")
            return None
        backend.connected()
        self._chosen(decision)
        return transport

    async def _open(self, backend: Backend) -> Transport:
        """Connect, introduce the client and speak TLS, as the pool wants it. A failure may be retried elsewhere."""
        plain = await dial(self._plane.engine, self._task, backend.address)
        config = self.pool.config
        try:
            if config.send_proxy != "off":
                await plain.send(self._client.proxy_header())
            if not config.tls.enabled:
                return plain
            return await self._plane.secured(self.pool).handshake(plain, backend)
        except TimedOut:
            plain.close()
            raise ProxyError(Source.BACKEND, 504, "the TLS handshake timed out", Retry.ALWAYS) from None
        except BaseException as error:
            plain.close()
            if isinstance(error, ProxyError) and error.source is Source.BACKEND:
                error.retry = Retry.ALWAYS  # nothing of the request has been sent
            raise

    def _note(self, decision: Decision) -> None:
        record = self._record
        record.backend, record.reason, record.skipped = decision.backend.name, decision.reason, decision.skipped
        record.tries += 1

    def _chosen(self, decision: Decision) -> None:
        decision.backend.active += 1
        self.pool.decisions[decision.reason] += 1
        self._record.connected = self._plane.engine.now
