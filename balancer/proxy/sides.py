"""The two sides of an exchange: a client that may still be sending, and a backend that may answer already.

The request body travels while we wait for the backend (``Upload.pump``), because a backend may answer before it has
read everything, or answer and read at the same time. Waiting is always for both sides at once: whichever wakes us, we
look at what can be moved.
"""

from balancer.errors import ProxyError, Retry, Source
from balancer.net.engine import Task, TimedOut, park
from balancer.net.send_progress import taken
from balancer.net.transport import TURN_BYTES, Transport
from balancer.proxy.session import Client
from balancer.proxy.upload import Upload


class Sides:
    """What both sides of one request are at."""

    client: Client
    task: Task
    patience: float
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
        """The backend's next bytes, ``b""`` at its end of stream; the request body goes on meanwhile."""
        while (data := self._taken()) is None:
            await park()
        return data

    def _taken(self) -> bytes | None:
        """What the backend has sent, after moving on the request body; None if the task has to park first."""
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
            if self.client.transport.hung_up and (upload is None or upload.done):
                raise ProxyError(Source.CLIENT, 499, "the client left before the answer was complete")
            return None

    async def _to_client(self, data: bytes) -> None:
        """Send to the client, the request body going on meanwhile."""
        if not self.client.transport.transmit(data):
            await self._until_taken()

    async def _until_taken(self) -> None:
        """Wait until the client has taken what is unsent, the request body going on meanwhile."""
        client, upload, worker = self.client.transport, self.upload, self.client.worker
        mark = None
        self.task.expires = client.engine.now + worker.timeouts.send
        while not client.flush():
            if mark is None:
                mark = taken(client)
            try:
                if upload is not None and upload.pump():
                    await client.take_turn()
                else:
                    await park()
            except TimedOut:
                so_far = taken(client)
                if so_far - mark < max(1, worker.admission.limits.min_rate * worker.timeouts.send):
                    raise
                mark = so_far
                self.task.expires = client.engine.now + worker.timeouts.send
        self._await_backend()

    def _await_backend(self) -> None:
        """Restart the deadline: something has moved."""
        worker, upload = self.client.worker, self.upload
        if upload is None or upload.done:
            self.task.expires = worker.engine.now + self.patience
        else:
            self.task.expires = upload.due(worker.engine.now, worker.timeouts.idle, worker.admission.limits.min_rate)

    def _overdue(self) -> ProxyError:
        """Who kept us waiting when the deadline passed."""
        upload = self.upload
        if self.client.transport.unsent is not None:
            return ProxyError(Source.CLIENT, 408, "the client reads too slowly, or not at all")
        if self.backend is not None and self.backend.unsent is not None:
            return ProxyError(Source.BACKEND, 504, "the backend stopped reading the request")
        if upload is not None and not upload.done:
            return ProxyError(Source.CLIENT, 408, "the request body comes too slowly, or not at all")
        if self.answered:
            return ProxyError(Source.BACKEND, 504, "the backend stopped in the middle of its answer")
        return ProxyError(Source.BACKEND, 504, "the backend did not answer in time", Retry.ELSEWHERE)
