"""The open listeners of the admin API, which a reload may change."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from balancer.admin.listeners import AdminListener, open_listeners
from balancer.admin.server import Answer, ApiRequest, ApiResponse, Unanswered, serve
from balancer.config.model import Config
from balancer.control.reload import Participant, Prepared

logger = logging.getLogger("balancer.admin")

HAND_OVER_TIMEOUT = 4.0
"""Seconds for which clients that have connected are waited for, before another process answers the others."""
TURNS = 3
"""Turns of the loop in which a client that was accepted just now is counted."""
CLOSE_TIMEOUT = 1.0
"""Seconds for which a listener that is being closed still serves the clients it has."""


class AdminListeners(Participant):
    """The open listeners, changed by reloads."""

    def __init__(self) -> None:
        self._open: dict[AdminListener, trio.CancelScope] = {}
        self._handed_over = False
        self._unanswered = Unanswered()

    async def run(
        self,
        handler: Callable[[AdminListener], Answer],
        first: list[AdminListener],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve with a ``handler`` for each listener until cancelled; all are closed at the end."""
        self._handler = handler
        async with trio.open_nursery() as self._nursery:
            self.change(first)
            task_status.started()
            await trio.sleep_forever()

    async def prepare(self, old: Config, new: Config) -> Prepared:
        return _PreparedListeners(self, open_listeners(new.admin, list(self._open)))

    def change(self, listeners: list[AdminListener]) -> None:
        """Switch to these listeners; clients of the others are served for ``CLOSE_TIMEOUT`` more."""
        for listener in self._open.keys() - set(listeners):
            self._open.pop(listener).cancel()
        for listener in listeners:
            listener.access = listener.next_access
            if listener not in self._open:
                self._open[listener] = trio.CancelScope()
                self._nursery.start_soon(self._serve, listener, self._open[listener])
                what = "health checks are answered" if listener.access.health_only else "the admin API answers"
                logger.info("%s on %s", what, listener.name)

    async def hand_over(self) -> list[AdminListener]:
        """Answer clients that have connected, and no more; return open listeners, at which further clients wait."""
        handed = [replace(listener, sock=listener.sock.dup()) for listener in self._open]
        for listener, scope in self._open.items():
            listener.path = None  # the file stays
            scope.cancel()
        self._open.clear()
        with trio.move_on_after(HAND_OVER_TIMEOUT):
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()
            await self._unanswered.none()
        self._handed_over = True
        return handed

    def close_unused(self, listeners: list[AdminListener]) -> None:
        """Close those that are not in use."""
        for listener in listeners:
            if listener not in self._open:
                listener.close()

    async def _serve(self, listener: AdminListener, accepting: trio.CancelScope) -> None:
        async with trio.open_nursery() as clients:
            try:
                with accepting:
                    await serve(listener.sock, self._answer(self._handler(listener)), clients, self._unanswered)
            finally:
                listener.close()
            clients.cancel_scope.deadline = trio.current_time() + CLOSE_TIMEOUT

    def _answer(self, handler: Answer) -> Answer:
        """Return ``handler``, for as long as nothing was handed over."""

        async def answer(request: ApiRequest, sock: trio.socket.SocketType) -> ApiResponse:
            if self._handed_over:
                raise trio.BrokenResourceError("another process answers now: the client has to connect again")
            return await handler(request, sock)

        return answer


@dataclass(frozen=True)
class _PreparedListeners:
    owner: AdminListeners
    listeners: list[AdminListener]

    def activate(self) -> None:
        self.owner.change(self.listeners)

    def abandon(self) -> None:
        self.owner.close_unused(self.listeners)
