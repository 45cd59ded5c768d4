"""One HTTP/1 request and its answer, from the token to the last byte.

token → candidates → idle or new backend connection → send → answer (or tunnel, after 101) → the next request's bytes.

A request is sent again only as long as nothing of an answer has reached the client, and all of it is still in memory.
"""

from typing import Final

from balancer.config.settings import CHALLENGES, Answer, ChallengeFolder, Redirect
from balancer.errors import ProxyError, Retry, Source
from balancer.http.fast_response import read_fast_response
from balancer.http.forward import response_head
from balancer.http.head import Response, find_response_end, parse_response
from balancer.http.websocket import check_request, check_response, is_websocket
from balancer.net.engine import Closed, TimedOut
from balancer.net.park import PARK
from balancer.proxy.connect import Connector
from balancer.proxy.delivery import UNCHANGED, Delivery
from balancer.proxy.replies import reply
from balancer.proxy.rule_answers import rule_answer
from balancer.proxy.upload import TOO_LONG, Upload

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110, 9.2.2)."""
REPEATED: Final = (Retry.UNANSWERED, Retry.ELSEWHERE)
"""Errors after which a request may be sent again."""
MAX_KEPT: Final = 65536
"""Bytes of a body that are kept until a balancer of a tier has answered: another may have to be sent them."""
MAX_TIERS: Final = 3
"""Balancers on the way of one request; more are taken for a loop."""
MAX_INTERIM: Final = 32
"""Maximal number of interim (1xx) responses to one request."""


def _idempotent(method: bytes) -> bool:
    return method == b"GET" or method in IDEMPOTENT  # looking a method up takes its hash


class Exchange(Delivery):
    """One request; ``run`` serves and logs it."""

    # Defaults of the class, not of each object: most requests change few of them.
    own_answer: Redirect | Answer | ChallengeFolder | None = None
    """What a rule answers instead of a backend."""
    taken = 0
    """Backends that have been sent a part of it, and have not refused it as a tier does."""
    informed = False
    """An interim response has been sent: a final one of our own may follow, but not those of another backend."""
    blamed = False
    """The error that is being handled has been counted against the backend."""

    async def run(self) -> bytes | None:
        """Serve the request. Return the bytes that follow it, or None if the client's connection has to be closed."""
        record, request = self.record, self.request
        try:
            head = self._begin()
            if head is None:
                return await self._answer()
            connector = self.connector
            self.backend = connector.kept(idempotent=_idempotent(request.method)) or await connector.connect()
            while True:
                try:
                    self._ask(head)
                    while (data := self._receive()) is None:
                        await PARK
                    if data:
                        record.first_byte = self.worker.engine.now
                    response = read_fast_response(data, request.method)
                    if response is None:
                        response, data = await self._read_head(data)
                    break
                except (ProxyError, TimedOut) as error:
                    await self._again(error)
            asked = connector.backend
            if response.status < 500 or not self.blame(asked, "5xx"):
                asked.tally.answers += 1
            if response.status == 101:
                await self._tunnel(response, data)
                return None
            record.status = response.status
            stays = self.may_stay()
            if stays and self.goes_on_as_it_came(response, len(data)):  # no coroutine: most answers are small
                self.answered = True
                if not self.client.transmit(response.whole):
                    await self._flush_client()
                reusable = response.keep_alive
            else:
                stays, reusable = await self.deliver(response, data[response.end :], stays=stays)
            if reusable:
                self._settle(keep=True)
            return self.following() if stays else None
        except ProxyError as error:
            return await self._fail(error)
        except TimedOut:
            return await self._fail(self._overdue())
        except Closed as closed:
            record.ended, record.by = str(closed), Source.INTERNAL
            raise
        finally:
            if self.backend is not None:
                self._settle()
            if record.status != 101:
                self.count(record.status)
            if self.worker.log.enabled:
                self.log("close" if record.status == 101 else "request")

    def _begin(self) -> bytes | None:
        """Check the request and choose its pool and token; return the head as it goes to the backend.

        None if a rule answers the request, with ``own_answer``.
        """
        connection, request, worker = self.connection, self.request, self.worker
        if is_websocket(request):
            check_request(request)
        if request.body > worker.max_body > 0:
            raise ProxyError(Source.CLIENT, 413, TOO_LONG)
        if worker.remembering is not None:
            worker.remembering.take(request, connection.writer)
        tiers = 1 if request.tiers is None else self._tiers(request.tiers)
        head, self.record.request_id = connection.writer.write(request, worker.request_ids.next())
        self.explain = request.trace is not None and self.may_see(request.trace)
        if connection.listener.rules is not None:
            self.own_answer = self.follow_rules(request)
            if self.own_answer is not None:
                return None
        self.find_token(request)
        self.connector = Connector(self)
        edits = connection.listener.request_fields, self.pool.request_fields
        if edits != UNCHANGED:
            head = connection.edited(head, edits, request, self.record.request_id)
        return head[:-2] + b"Balancer-Tier: %d\r\n\r\n" % tiers if self.pool.tier else head

    def _tiers(self, claimed: bytes) -> int:
        """Return how many balancers the request has come through with this one. Raise 508 if they are too many."""
        if not (self.connection.trusted and claimed.isdigit()):
            return 1
        tiers = int(claimed[:4]) + 1
        if tiers > MAX_TIERS:
            raise ProxyError(Source.CLIENT, 508, f"more than {MAX_TIERS} balancers have passed this on: a loop")
        return tiers

    async def _again(self, caught: ProxyError | TimedOut) -> None:
        """Get another connection to send the request over again, if that is allowed; otherwise raise the error."""
        connector = self.connector
        error = caught if isinstance(caught, ProxyError) else self._overdue()
        refused = error.retry is Retry.ALWAYS
        if refused:
            self.taken -= 1
        again = refused or (error.retry in REPEATED and _idempotent(self.request.method))
        if not (again and self._replayable()):
            raise error from None
        if not refused and not (connector.reused and error.retry is Retry.UNANSWERED):
            self._blame(error)
        self.blamed = True
        self._settle()
        if self.upload is not None and self.upload.kept is not None:
            self.early = self.upload.kept
        self.backend = await connector.again(error)
        self.blamed = False

    def _replayable(self) -> bool:
        """Return whether all of the request is still in memory, and nothing of an answer has reached the client."""
        return not (self.answered or self.informed) and (self.upload is None or self.upload.kept is not None)

    def _ask(self, head: bytes) -> None:
        """Send the head and the first bytes of the body at once."""
        request, backend = self.request, self.backend
        assert backend is not None
        if request.body:
            keep = MAX_KEPT if self.pool.tier else 0
            self.upload = Upload(self.client, backend, request.body, self.early, self.worker.max_body, keep)
            head += self.upload.first
        self.taken += 1
        backend.transmit(head)
        self._await_backend()

    async def _read_head(self, more: bytes) -> tuple[Response, bytes]:
        """Return the final response, or that of an upgrade, and the bytes after its head; pass interim ones on.

        ``more`` are the first bytes of the backend's answer.
        """
        request, worker = self.request, self.worker
        data = b""
        interim = 0
        while True:
            if not more:
                if data:
                    raise ProxyError(Source.BACKEND, 502, "the backend closed in the middle of the head")
                raise ProxyError(Source.BACKEND, 502, "the backend closed without an answer", Retry.UNANSWERED)
            data += more
            while (end := find_response_end(data)) >= 0:
                response = parse_response(data[:end], request.method)
                data = data[end:]
                if response.status == 101:
                    check_response(request, response)
                    return response, data
                if response.status >= 200:
                    if response.refused and self.pool.tier:
                        error = ProxyError(Source.BACKEND, 503, f"refused: {response.refused}", Retry.ALWAYS)
                        error.refused = response.refused
                        raise error
                    return response, data
                interim += 1
                if interim > MAX_INTERIM:
                    raise ProxyError(Source.BACKEND, 502, "too many interim responses")
                if worker.remembering is not None:
                    self._remember(response)
                passed_on, _ = response_head(response, request.minor, True)
                if passed_on:
                    self.informed = True
                    await self._to_client(passed_on)
            if len(data) > worker.max_head:
                raise ProxyError(Source.BACKEND, 502, "the head of the response is too long")
            more = await self._from_backend()

    def _blame(self, error: ProxyError) -> None:
        """Count a failure against the backend that was asked."""
        backend = self.connector.backend
        backend.response_errors += 1
        # A backend may close an idle connection at any time: that is no failure.
        if not self.answered and not (self.connector.reused and error.retry is Retry.UNANSWERED):
            self.blame(backend, "timeout" if error.status == 504 else "reset")

    async def _fail(self, error: ProxyError) -> bytes | None:
        """Answer with an error, or cut short the answer in which it occurred."""
        record, request, connection = self.record, self.request, self.connection
        record.ended, record.by = error.reason, error.source
        if error.source is Source.BACKEND and error.retry is not Retry.ALWAYS and not self.blamed:
            self._blame(error)
        if self.answered or error.status == 499:
            if not self.answered:
                record.status = 499
            connection.transport.abort()
            return None
        record.status = error.status
        consumed = not request.body or (self.upload is not None and self.upload.done)
        keep = (
            error.source is not Source.CLIENT and request.keep_alive and consumed and not connection.listener.draining
        )
        answer = reply(
            error.status,
            error.reason,
            connection.listener.error_pages,
            head_only=request.method == b"HEAD",
            keep_alive=keep,
            retry_after=error.retry_after,
            refused=error.refused if connection.trusted and not self.taken else "",
        )
        await connection.respond(self._edited(answer))
        if not keep:
            return None
        return self.following()

    async def _answer(self) -> bytes | None:
        """Answer as a rule says; return as ``run`` does."""
        action, request, connection = self.own_answer, self.request, self.connection
        assert action is not None
        if isinstance(action, ChallengeFolder):
            action = await self._challenge(action.path)
        keep = request.keep_alive and not request.body and not connection.listener.draining
        answer = rule_answer(action, request, connection.scheme(request), keep_alive=keep)
        self.record.status = action.code if isinstance(action, Redirect) else action.status
        self.answered = True
        await connection.respond(self._edited(answer))
        return self.early if keep else None

    async def _challenge(self, folder: str) -> Answer:
        """Return the answer to an ACME challenge. Raise ``ProxyError`` (404) if there is none."""
        name = self.request.target.partition(b"?")[0].removeprefix(CHALLENGES.encode())
        data = await self.worker.challenges.read(self.task, folder, name)
        if data is None:
            raise ProxyError(Source.INTERNAL, 404, "there is no such challenge")
        return Answer(200, "application/octet-stream", data)

    def _settle(self, *, keep: bool = False) -> None:
        """Keep the backend connection for other requests, or close it; count what it carried."""
        transport = self.backend
        if transport is None:
            return
        self.backend = None
        connector, record = self.connector, self.record
        backend = connector.backend
        record.bytes_in += transport.sent
        record.bytes_out += transport.received
        backend.bytes_in += transport.sent
        backend.bytes_out += transport.received
        backend.requests += 1
        connector.leave()
        if keep:
            transport.sent = transport.received = 0
            transport.confirmed = -1
            connector.idle[connector.connection_key].put(transport, self.worker.engine.now)
        else:
            transport.close()
