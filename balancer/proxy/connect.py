"""From a token to a connected backend: walk the candidates until one accepts."""

import logging

from balancer.errors import ProxyError, Retry, Source
from balancer.net.dial import FRESH, dial
from balancer.net.engine import Task
from balancer.net.transport import PlainTransport
from balancer.pool.pool import Decision, Pool
from balancer.proxy.accesslog import Record
from balancer.proxy.plane import Plane

logger = logging.getLogger("balancer.proxy")

PATIENCE = 3.0
"""The walk ends after this many connect timeouts, however many candidates are left."""


class Connector:
    """The candidates of one request or connection, tried in order; nothing has been sent yet, so nothing is lost."""

    __slots__ = (
        "_candidates",
        "_decision",
        "_first",
        "_plane",
        "_record",
        "_reuse",
        "_task",
        "_until",
        "backend",
        "pool",
        "reused",
    )

    def __init__(
        self, plane: Plane, pool: Pool, token: bytes | None, task: Task, record: Record, *, reuse: bool
    ) -> None:
        now = plane.engine.now
        self._plane = plane
        self._first = pool.first(token, now)
        self._candidates = pool.candidates(token, now)
        self._task = task
        self._record = record
        self._until = now + PATIENCE * plane.timeouts.connect
        self.pool = pool
        self._reuse = reuse
        self.reused = False
        """The connection last handed out had served before."""

    async def connect(self, *, idempotent: bool = False) -> PlainTransport:
        """A connection to the best candidate that accepts one.

        ``idempotent`` requests may use any idle connection, others only one that served a moment ago: a backend that
        closes an idle connection while a request is on its way cannot be told from one that has acted on it.
        Raises 503 when no candidate is left.
        """
        engine, record = self._plane.engine, self._record
        while (decision := self._next()) is not None:
            self._decision = decision
            if record.tries and engine.now > self._until:
                break
            self.backend = backend = decision.backend
            record.backend, record.reason, record.skipped = backend.name, decision.reason, decision.skipped
            record.tries += 1
            if self._reuse:
                oldest = 0.0 if idempotent else engine.now - FRESH
                transport = self._plane.idle[backend].take(self._task, oldest)
                if transport is not None:
                    self.reused = True
                    self._chosen()
                    return transport
            self.reused = False
            self._task.expires = engine.now + self._plane.timeouts.connect
            try:
                transport = await dial(engine, self._task, backend.address)
            except ProxyError as error:
                if error.retry is not Retry.ALWAYS:
                    raise
                if not backend.unavailable(engine.now):
                    logger.warning("backend %s (%s): %s; trying others first", backend.name, backend.address, error)
                backend.connect_failed(engine.now)
                continue
            backend.connected()
            self._chosen()
            return transport
        raise ProxyError(Source.BACKEND, 503, "no backend could be reached", Retry.ALWAYS)

    def once_more(self) -> None:
        """Try the present candidate again, and from now on with fresh connections only."""
        self._first = self._decision
        self._reuse = False

    def _next(self) -> Decision | None:
        first, self._first = self._first, None
        return first or next(self._candidates, None)

    def _chosen(self) -> None:
        self.pool.decisions[self._decision.reason] += 1
        self._record.connected = self._plane.engine.now
