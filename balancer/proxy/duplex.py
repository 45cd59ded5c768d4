"""The two directions of an exchange: a client that may still be sending, and a backend that may answer already.

The request body is moved whenever we wait for the backend (``Upload.pump``), because a backend may answer before it has
read everything, or answer and read at the same time. We always wait for both sides at once: whichever wakes the task,
it looks at what can be moved in either direction.
"""

from balancer.errors import ProxyError, Retry, Source
from balancer.net.engine import TimedOut
from balancer.net.park import PARK
from balancer.net.send_progress import acknowledged
from balancer.net.transport import TURN_BYTES, Transport
from balancer.proxy.stream import Stream
from balancer.proxy.upload import Upload


class Duplex(Stream):
    """Moves the bytes of one request and its answer between client and backend."""

    response_timeout: float
    """Seconds for which the backend may be silent."""
    # Defaults of the class, not of each object: most requests change few of them.
    backend: Transport | None = None
    upload: Upload | None = None
    answered = False
    """Something of the response has been sent: from here on an error can only cut it short."""

    async def _more_from_backend(self) -> bytes:
        data = await self._from_backend()
        if not data:
            raise ProxyError(Source.BACKEND, 502, "the backend closed in the middle of its answer")
        return data

    async def _from_backend(self) -> bytes:
        """Return the backend's next bytes, ``b""`` at the end of its stream; the request body moves on meanwhile."""
        while (data := self._receive()) is None:
            await PARK
        return data

    def _receive(self) -> bytes | None:
        """Move the request body on and return what the backend has sent; None if the task has to park first."""
        backend, task, upload = self.backend, self.task, self.upload
        assert backend is not None
        while True:
            if task.spent >= TURN_BYTES:
                backend.engine.wake_later(task)
                return None
            if backend.pending():
                data = backend.receive()
                if data is not None:
                    self._await_backend()
                    return data
            if upload is None:
                if backend.unsent is not None:
                    backend.flush()
            elif upload.pump():
                self._await_backend()
                continue
            # One that has only ended its side (RFC 9293, 3.6) waits for the answer. Whether it does, or has closed,
            # only shows when it is sent something; haproxy goes on likewise.
            if self.client.gone and (upload is None or upload.done):
                raise ProxyError(Source.CLIENT, 499, "the client left before the answer was complete")
            return None

    async def _to_client(self, data: bytes) -> None:
        """Send to the client; the request body moves on meanwhile."""
        if not self.client.transmit(data):
            await self._flush_client()

    async def _flush_client(self) -> None:
        """Wait until nothing is unsent to the client; the request body moves on meanwhile.

        Raise ``TimedOut`` if the client has acknowledged less than ``limits.min_rate`` allows for ``timeouts.send``.
        """
        client, upload, worker = self.client, self.upload, self.worker
        mark = None
        self.task.expires = client.engine.now + worker.timeouts.send
        while not client.flush():
            if mark is None:
                mark = acknowledged(client)
            try:
                if upload is not None and upload.pump():
                    await client.take_turn()
                else:
                    await PARK
            except TimedOut:
                so_far = acknowledged(client)
                if so_far - mark < max(1, worker.admission.limits.min_rate * worker.timeouts.send):
                    raise
                mark = so_far
                self.task.expires = client.engine.now + worker.timeouts.send
        self._await_backend()

    def _await_backend(self) -> None:
        """Restart the deadline, as something has moved: the client's while its body is due, else the backend's."""
        worker, upload = self.worker, self.upload
        if upload is None or upload.done:
            self.task.expires = worker.engine.now + self.response_timeout
        else:
            self.task.expires = upload.deadline(
                worker.engine.now, worker.timeouts.idle, worker.admission.limits.min_rate
            )

    def _overdue(self) -> ProxyError:
        """Return the error of the side that the task was waiting for when its deadline passed."""
        upload = self.upload
        if self.client.unsent is not None:
            return ProxyError(Source.CLIENT, 408, "the client reads too slowly, or not at all")
        if self.backend is not None and self.backend.unsent is not None:
            return ProxyError(Source.BACKEND, 504, "the backend stopped reading the request")
        if upload is not None and not upload.done:
            return ProxyError(Source.CLIENT, 408, "the request body comes too slowly, or not at all")
        if self.answered:
            return ProxyError(Source.BACKEND, 504, "the backend stopped in the middle of its answer")
        return ProxyError(Source.BACKEND, 504, "the backend did not answer in time", Retry.ELSEWHERE)
