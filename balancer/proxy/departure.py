"""The end of a worker that accepts no more: how long its connections may stay, and how slowly they are closed then.

That may be asked for more than once: a worker of an earlier version keeps its tunnels for a day, unless the daemon is
stopped before. What comes first counts.
"""

import math

import trio

from balancer.proxy.worker_state import WorkerState


class Departure:
    """``begun`` is set with the first request to leave."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self._at = math.inf
        self._spread: float | None = None
        self._why = ""
        self._changed = trio.Event()

    def ask(self, keep: float, spread: float | None, why: str) -> None:
        """Leave within ``keep`` seconds; then close what is left over ``spread`` seconds, or the usual time."""
        at = trio.current_time() + keep
        if at < self._at:
            self._at, self._spread, self._why = at, spread, why
            self.begun.set()
            self._changed.set()
            self._changed = trio.Event()

    async def run(self, state: WorkerState) -> None:
        """Return once the time is up, and the connections are closed that there were then."""
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._begin_again, nursery.cancel_scope)
                await trio.sleep_until(self._at)
                await state.close_slowly(self._why, spread=self._spread)
                nursery.cancel_scope.cancel()
                return

    async def _begin_again(self, scope: trio.CancelScope) -> None:
        await self._changed.wait()
        scope.cancel()
