"""From a token to a connected backend: try the candidates until one has room and accepts the connection.

A request is counted at the backend from before it connects until its answer has been relayed, so that connections being
made count against the backend's limit as well. At the limit it waits in a queue, for a while; a request that ends wakes
the first in the queue. One that ends in another worker cannot do so, and therefore the first in the queue checks again
with every check of the deadlines.

Every try after the first is a retry and has to be allowed: by the number of retries, the time since the request came,
and the budget of its pool. An idle connection that turns out to be closed costs none of these, once: its backend has
done nothing wrong.
"""

import logging
import math
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from typing import Final

from balancer.errors import ProxyError, Retry, Source
from balancer.net.dial import FRESH, dial
from balancer.net.engine import Task, TimedOut
from balancer.net.park import PARK
from balancer.net.peers import probe_when_silent
from balancer.net.transport import Transport
from balancer.pool.backend import Backend
from balancer.pool.load import BackendLoad
from balancer.pool.retries import Limit
from balancer.pool.selection import FAILED, FULL, Decision
from balancer.proxy.stream import Stream, blame

logger = logging.getLogger("balancer.proxy")

NO_ANSWER: Final = "gave no answer"


class Connector:
    """The candidates of one stream, tried in order.

    A request may use an idle connection: any if it is ``idempotent``, otherwise one that was used a moment ago. For a
    backend that closes an idle connection while a request is on its way looks like one that has acted on the request.
    """

    backend: Backend
    """The backend of the connection last returned."""
    # Defaults of the class, not of each object: most requests change few of them.
    reused = False
    """The connection last returned was an idle one."""
    connection_key: object = None
    """The ``connection_key`` of the backend when that connection was made."""
    _candidates: Generator[Decision[Backend], str | None, None] | None = None
    _holds: Backend | None = None
    """The backend at which the request is counted."""
    _reuse_since = math.inf
    """Idle connections last used before then are not reused."""
    _retries = 0
    _unanswered = 0

    def __init__(self, stream: Stream) -> None:
        worker = self._worker = stream.worker
        pool = self.pool = stream.pool
        token = self._token = stream.token
        # Not the stream itself, which refers to this: requests would end as garbage in cycles, at 6 % of their cost.
        self._connection = stream.connection
        self._task = stream.task
        self._record = stream.record
        self.idle = stream.idle_connections()
        """Idle connections by ``connection_key``; this one joins them when it becomes idle."""
        now = worker.engine.now
        self._decision = pool.first(token, now)
        if self._decision is None:
            self._candidates = pool.candidates(token, now)
            self._decision = next(self._candidates, None)

    def kept(self, *, idempotent: bool) -> Transport | None:
        """Return an idle connection to the best candidate, if there is one: where most requests get theirs."""
        self._reuse_since = 0.0 if idempotent else self._worker.engine.now - FRESH
        decision = self._decision
        if decision is None:
            return None
        backend = decision.backend
        if backend.load is None:  # as ``_enter`` would, without a call
            backend.active += 1
            self._holds = backend
        elif not self._enter(backend):
            return None
        return self._kept(decision)

    async def connect(self) -> Transport:
        """Return a connection to the best candidate that accepts one. Raise 503 if none does, or none has room."""
        words, refused = "no backend could be reached", "no-backend"
        while (decision := self._decision) is not None:
            backend = decision.backend
            if self._enter(backend) or await self._wait(backend):
                transport = self._kept(decision) or await self._dial(decision)
                if transport is not None:
                    return transport
                self._next(FAILED)
                if self._decision is not None and not self._may_retry():
                    break
            else:
                backend.full += 1
                self._note(decision)
                words, refused = "the backend is full", "full"
                # Without a token any backend will do; with a lease it has to be that of the user's other tabs.
                strict = self.pool.settings.when_full == "refuse" and self._token is not None
                if strict or decision.reason == "lease" or self._late():
                    break
                self._next(FULL)
        error = ProxyError(Source.BACKEND, 503, words, Retry.ALWAYS)
        error.refused = refused
        raise error

    async def again(self, error: ProxyError) -> Transport:
        """Return another connection after the last one broke with ``error`` before any part of an answer came.

        The first is to the same backend, the next to another; at once if the backend took too long. A balancer that has
        refused the request costs no retry, and the next is asked. Raise ``error`` if no retry is allowed.
        """
        refused = error.retry is Retry.ALWAYS
        if not refused:
            self._reuse_since = math.inf  # fresh ones only
        if self._connection.transport.gone:
            raise error  # there is no client any more that could get the answer
        elsewhere = error.retry is Retry.ELSEWHERE
        if refused:
            decision = self._decision
            if error.refused == "full" and decision is not None and decision.reason == "lease":
                raise error  # or the user's tabs would be on two hosts
            self.pool.retries.made += 1
            self._next(error.reason)
        elif elsewhere or not self.reused:
            self._unanswered += 1
            if not self._may_retry():
                raise error
            if elsewhere or self._unanswered > 1:
                self._next(NO_ANSWER)
        try:
            return await self.connect()
        except ProxyError as other:
            raise (error if self._decision is None and other.retry is Retry.ALWAYS else other) from None

    def leave(self) -> None:
        """Stop counting the request at its backend, and wake the first in the queue."""
        backend = self._holds
        if backend is None:
            return
        self._holds = None
        backend.active -= 1
        load = backend.load
        if load is not None:
            load.active.put(backend.active)
            if load.waiting:
                self._worker.engine.wake(load.waiting[0])

    def _enter(self, backend: Backend) -> bool:
        """Count the request at the backend; return false if it is full, or if others wait for it."""
        if self._holds is backend:
            return True
        load = backend.load
        if load is None:
            backend.active += 1
        elif load.waiting or not backend.enter():
            return False
        self._holds = backend
        return True

    async def _wait(self, backend: Backend) -> bool:
        """Wait in the queue of the backend; return false if the turn did not come in time, or the queue is full."""
        load = backend.load
        assert load is not None
        settings, engine, task = self.pool.settings, self._worker.engine, self._task
        if load.queued.total() >= settings.queue:
            return False
        began = engine.now
        until = began + settings.queue_timeout
        queue: deque[Task] = load.waiting
        queue.append(task)
        load.queued.put(len(queue))
        try:
            while not (queue[0] is task and backend.enter()):
                if engine.now >= until:
                    return False
                if self._connection.transport.gone:
                    raise ProxyError(Source.CLIENT, 499, "the client left while it waited for its backend")
                task.expires = engine.now if queue[0] is task else until
                with suppress(TimedOut):
                    await PARK
            self._holds = backend
            return True
        finally:
            self._record.queued += engine.now - began
            queue.remove(task)
            self._advance(backend, queue)

    def _advance(self, backend: Backend, queue: deque[Task]) -> None:
        """Note that the queue is shorter by one, and let the next one check."""
        load: BackendLoad[Task] | None = backend.load
        if load is not None:
            load.queued.put(len(queue))
        if queue:
            self._worker.engine.wake(queue[0])

    def _may_retry(self) -> bool:
        """Take one more retry, if it is allowed."""
        pool, now = self.pool, self._worker.engine.now
        settings, retries = pool.settings.retry, pool.retries
        if self._retries >= settings.count:
            retries.given_up[Limit.COUNT] += 1
        elif self._late():
            retries.given_up[Limit.TIME] += 1
        elif not retries.spend(now, sum(pool.decisions.values()), settings.budget):
            retries.given_up[Limit.BUDGET] += 1
        else:
            self._retries += 1
            retries.made += 1
            return True
        return False

    def _late(self) -> bool:
        return self._worker.engine.now > self._record.head + self.pool.settings.retry.time

    def _next(self, why: str) -> None:
        """Go on to the next candidate; ``why`` it is not this one is for the log."""
        before = self._decision
        try:
            if self._candidates is None:
                now = self._worker.engine.now
                self._candidates = self.pool.candidates(self._token, now, before, why)
                self._decision = next(self._candidates)
            else:
                self._decision = self._candidates.send(why)
        except StopIteration:
            self._decision = None

    def _kept(self, decision: Decision[Backend]) -> Transport | None:
        if self._reuse_since == math.inf:
            return None
        self.connection_key = decision.backend.connection_key
        transport = self.idle[self.connection_key].take(self._task, self._reuse_since)
        if transport is not None:
            self.reused = True
            self._note(decision)
            self._chosen(decision)
        return transport

    async def _dial(self, decision: Decision[Backend]) -> Transport | None:
        """Return a new connection, or None if this backend does not accept one."""
        engine, backend = self._worker.engine, decision.backend
        self.reused = False
        self.connection_key = backend.connection_key
        self._note(decision)
        self._task.expires = engine.now + self._worker.timeouts.connect
        try:
            transport = await self._open(backend)
        except ProxyError as error:
            self.leave()
            if error.retry is not Retry.ALWAYS:
                raise
            if not backend.unavailable(engine.now):
                about = {"pool": self.pool.name, "backend": backend.name}
                words = "backend %s (%s): %s; trying others first"
                logger.warning(words, backend.name, backend.address, error, extra=about)
            backend.connect_failed(engine.now)
            blame(self._connection, self.pool, self._token, backend, "connect")
            return None
        except BaseException:
            self.leave()
            raise
        backend.connected()
        self._chosen(decision)
        return transport

    async def _open(self, backend: Backend) -> Transport:
        """Connect, send the PROXY header and shake hands, as configured. Every failure may be retried elsewhere."""
        plain = await dial(self._worker.engine, self._task, backend.address)
        probe_when_silent(plain.sock, self._worker.timeouts.tcp_keepalive)
        config = self.pool.settings
        try:
            if config.send_proxy != "off":
                await plain.send(self._connection.proxy_header(config.send_proxy))
            if not config.tls.enabled:
                return plain
            tls = self._worker.backend_tls.get(self.pool.name)
            if tls is None:
                raise ProxyError(Source.INTERNAL, 503, "the pool has been removed")
            return await tls.handshake(plain, backend)
        except TimedOut:
            plain.close()
            raise ProxyError(Source.BACKEND, 504, "the TLS handshake timed out", Retry.ALWAYS) from None
        except BaseException as error:
            plain.close()
            if isinstance(error, ProxyError) and error.source is Source.BACKEND:
                error.retry = Retry.ALWAYS  # nothing of the request has been sent
            raise

    def _note(self, decision: Decision[Backend]) -> None:
        record = self._record
        record.backend, record.reason, record.skipped = decision.backend.name, decision.reason, decision.skipped
        record.tries += 1

    def _chosen(self, decision: Decision[Backend]) -> None:
        self.backend = decision.backend
        decisions = self.pool.decisions
        decisions[decision.reason] = decisions.get(decision.reason, 0) + 1
        self._record.connected = self._worker.engine.now
