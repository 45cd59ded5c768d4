"""One HTTP/1 request and its answer, from the token to the last byte.

token → candidates → idle or new backend connection → send → answer (or tunnel, after 101) → the next request's bytes.

A request is sent again only as long as nothing of an answer has reached the client, and all of it is still in memory.
"""

from typing import Final

from balancer.config.settings import CHALLENGES, Answer, ChallengeFolder, Redirect
from balancer.errors import ProxyError, Retry, Source
from balancer.http.body import Chunked, chunk, last_chunk
from balancer.http.fast_response import read_fast_response
from balancer.http.forward import response_head
from balancer.http.frames import Frames
from balancer.http.head import CHUNKED, UNTIL_CLOSE, Request, Response, find_response_end, parse_response
from balancer.http.websocket import check_request, check_response, is_websocket
from balancer.net.engine import Closed, TimedOut
from balancer.net.park import PARK
from balancer.net.transport import Transport
from balancer.proxy.connect import Connector
from balancer.proxy.connection import Connection
from balancer.proxy.duplex import Duplex
from balancer.proxy.record import Record
from balancer.proxy.replies import reply
from balancer.proxy.rule_answers import rule_answer
from balancer.proxy.tunnel import tunnel
from balancer.proxy.upload import TOO_LONG, Upload

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""Methods that may be sent twice (RFC 9110, 9.2.2)."""
REPEATED: Final = (Retry.UNANSWERED, Retry.ELSEWHERE)
"""Errors after which a request may be sent again."""
UNCHANGED: Final = (None, None)
"""No fields are changed by the listener, nor by the pool."""
MAX_INTERIM: Final = 32
"""Maximal number of interim (1xx) responses to one request."""


class Exchange(Duplex):
    """One request; ``run`` serves and logs it."""

    connector: Connector
    # Defaults of the class, not of each object: most requests change few of them.
    explain = False
    """The response is to explain why this backend was chosen."""
    own_answer: Redirect | Answer | ChallengeFolder | None = None
    """What a rule answers instead of a backend."""
    informed = False
    """An interim response has been sent: a final one of our own may follow, but not those of another backend."""
    blamed = False
    """The error that is being handled has been counted against the backend."""

    def __init__(self, connection: Connection, request: Request, early: bytes, record: Record) -> None:
        super().__init__(connection, record)
        self.response_timeout = self.worker.timeouts.response
        self.request = request
        self.early = early
        """Bytes that came with the head: of the body, of a tunnel, or of the next request."""

    async def run(self) -> bytes | None:
        """Serve the request. Return the bytes that follow it, or None if the client's connection has to be closed."""
        record = self.record
        try:
            head = self._begin()
            if head is None:
                return await self._answer()
            connector = self.connector
            backend = connector.kept(idempotent=self.request.method in IDEMPOTENT) or await connector.connect()
            self.backend = backend
            try:
                response, rest = await self._send(backend, head)
            except (ProxyError, TimedOut) as error:
                response, rest = await self._again(head, error)
            asked = connector.backend
            if response.status < 500 or not self.blame(asked, "5xx"):
                asked.tally.answers += 1
            if response.status == 101:
                await self._tunnel(response, rest)
                return None
            return await self._deliver(response, rest)
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
                self._count(record.status)
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
        head, self.record.request_id = connection.writer.write(request, worker.next_request_id())
        self.explain = request.trace is not None and self.may_see(request.trace)
        if connection.listener.rules is not None:
            self.own_answer = self.follow_rules(request)
            if self.own_answer is not None:
                return None
        self.find_token(request)
        self.connector = Connector(self)
        edits = connection.listener.request_fields, self.pool.request_fields
        return head if edits == UNCHANGED else connection.edited(head, edits, request, self.record.request_id)

    async def _again(self, head: bytes, caught: ProxyError | TimedOut) -> tuple[Response, bytes]:
        """Send the request again after it has failed, for as long as that is allowed; otherwise as ``_send``."""
        connector = self.connector
        while True:
            error = caught if isinstance(caught, ProxyError) else self._overdue()
            if not (error.retry in REPEATED and self.request.method in IDEMPOTENT and self._replayable()):
                raise error from None
            if not (connector.reused and error.retry is Retry.UNANSWERED):
                self._blame(error)
            self.blamed = True
            self._settle()
            self.backend = await connector.again(error)
            self.blamed = False
            try:
                return await self._send(self.backend, head)
            except (ProxyError, TimedOut) as failed:
                caught = failed

    def _count(self, status: int) -> None:
        """Count the request: it is done, or has become a tunnel."""
        self.pool.traffic.note(status, self.worker.engine.now - self.record.started)

    def _replayable(self) -> bool:
        """Return whether all of the request is still in memory, and nothing of an answer has reached the client."""
        return not (self.answered or self.informed) and (self.upload is None or self.upload.complete_at_first)

    async def _send(self, backend: Transport, head: bytes) -> tuple[Response, bytes]:
        """Send the head and the first bytes of the body at once; return the head of the answer and what came after it.

        Interim responses are passed on.
        """
        request, worker = self.request, self.worker
        if request.body:
            self.upload = Upload(self.client, backend, request.body, self.early, worker.max_body)
            head += self.upload.first
        backend.transmit(head)
        self._await_backend()
        data = b""
        interim = 0
        while True:
            while (more := self._receive()) is None:
                await PARK
            if not more:
                reason = (
                    "the backend closed in the middle of the head" if data else "the backend closed without an answer"
                )
                raise ProxyError(Source.BACKEND, 502, reason, Retry.NEVER if data else Retry.UNANSWERED)
            if not data:
                self.record.first_byte = worker.engine.now
            if not data and (fast := read_fast_response(more, request.method)):
                return fast
            data = data + more if data else more
            while (end := find_response_end(data)) >= 0:
                response = parse_response(data[:end], request.method)
                data = data[end:]
                if response.status == 101:
                    check_response(request, response)
                    return response, data
                if response.status >= 200:
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

    async def _deliver(self, response: Response, rest: bytes) -> bytes | None:
        """Relay the final response as it comes; return the bytes of the next request, or None to close."""
        request, backend = self.request, self.backend
        assert backend is not None
        self.record.status = response.status
        if self.worker.remembering is not None:
            self._remember(response)
        draining = self.connection.listener.draining
        keep = request.keep_alive and not draining and (self.upload is None or self.upload.done)
        head, framing = response_head(response, request.minor, keep)
        head = self._edited(head)
        if self.explain:
            head = self._explained(head)
        if response.body == len(rest):  # all of it has come: most answers are small
            self.answered = True
            if not self.client.transmit(head + rest):
                await self._flush_client()
            clean = True
        elif response.body >= 0:
            clean = await self._copy_length(head, response.body, rest)
        else:
            self.response_timeout = self.worker.timeouts.tunnel_idle  # a stream of events may be silent for long
            if response.body == CHUNKED:
                clean = await self._copy_chunked(head, framing, rest)
            else:
                await self._copy_until_close(head, framing, rest)
                clean = False
        if clean and response.keep_alive and (self.upload is None or self.upload.done) and backend.unsent is None:
            self._settle(keep=True)
        if not keep or framing == UNTIL_CLOSE:
            return None
        return self.upload.rest if self.upload is not None else self.early

    def _remember(self, response: Response) -> None:
        """Keep our cookies out of a response, and add one that is to remember the user."""
        remembering, connection = self.worker.remembering, self.connection
        assert remembering is not None
        token = self.token if self.remembers else None
        secure, assigned = connection.is_secure(self.request), self.assigned
        remembering.answer(self.pool, self.request, response, token, assigned=assigned, secure=secure)

    def _edited(self, response: bytes) -> bytes:
        """Return a response, or only its head, with its fields changed as the listener and the pool say."""
        edits = self.pool.response_fields, self.connection.listener.response_fields
        if edits == UNCHANGED:
            return response
        end = response.index(b"\r\n\r\n") + 4
        head = self.connection.edited(response[:end], edits, self.request, self.record.request_id)
        return head + response[end:]

    def _explained(self, head: bytes) -> bytes:
        """Return the head with the decision added to its fields."""
        return head[:-2] + self.explanation() + b"\r\n"

    async def _copy_length(self, send: bytes, left: int, data: bytes) -> bool:
        """Relay a body of known length after ``send``; return false if the backend sent more than it announced."""
        client = self.client
        self.answered = True
        while True:
            piece = data if len(data) <= left else data[:left]
            left -= len(piece)
            if not client.transmit(send + piece):
                await self._flush_client()
            if not left:
                return len(piece) == len(data)
            send = b""
            data = await self._more_from_backend()

    async def _copy_chunked(self, send: bytes, framing: int, data: bytes) -> bool:
        """Relay a chunked body after ``send``, unframed for HTTP/1.0; return false if more than the body came."""
        decoder = Chunked(Source.BACKEND, framed=framing == CHUNKED)
        while True:
            send += decoder.feed(data)  # while nothing has been sent, a body that cannot be read is answered 502
            self.answered = True
            if send:
                await self._to_client(send)
            if decoder.done:
                return not decoder.rest
            send = b""
            data = await self._more_from_backend()

    async def _copy_until_close(self, send: bytes, framing: int, data: bytes) -> None:
        """Relay a body after ``send`` that ends with the backend's connection."""
        self.answered = True
        while True:
            await self._to_client(send + (chunk(data) if framing == CHUNKED else data))
            send = b""
            data = await self._from_backend()
            if not data:
                break
        if framing == CHUNKED:
            await self._to_client(last_chunk(b""))

    async def _tunnel(self, response: Response, rest: bytes) -> None:
        """Relay bytes both ways after 101, which takes effect behind the body of the request (RFC 9110, 7.8)."""
        backend = self.backend
        assert backend is not None
        early = await self._behind_body(backend)
        if self.worker.remembering is not None:
            self._remember(response)
        head, _ = response_head(response, self.request.minor, True)
        head = self._edited(head)
        if self.explain:
            head = self._explained(head)
        self.record.status = 101
        self._count(101)
        self.answered = True
        frames = None
        if is_websocket(self.request):
            frames = Frames(), Frames()
            frames[0].feed(early)
            frames[1].feed(rest)
        await tunnel(
            self,
            backend,
            self.connector.backend,
            to_client=head + rest,
            to_backend=early,
            frames=frames,
        )

    async def _behind_body(self, backend: Transport) -> bytes:
        """Hand the backend the whole request; return the bytes that have come after it."""
        upload = self.upload
        self._await_backend()
        while backend.unsent is not None or not (upload is None or upload.done):
            moved = backend.flush() if upload is None else upload.pump()
            if upload is not None and upload.refused:
                raise ProxyError(Source.BACKEND, 502, "the backend closed before it had read the request")
            if moved:
                self._await_backend()
                await backend.take_turn()
            else:
                await PARK
        return self.early if upload is None else upload.rest

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
        )
        await connection.respond(self._edited(answer))
        if not keep:
            return None
        return self.upload.rest if self.upload is not None else self.early

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
