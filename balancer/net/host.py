"""Have the process wait in the engine's epoll set, and not in trio's, while trio has nothing to do.

Facts. A wake-up of trio takes 17,000 instructions: its scheduler, deadlines and cancel scopes, an ``epoll_ctl``. Beside
thousands of requests that is nothing; for one keystroke in a tunnel, which wakes a worker twice, it was more than all
the rest. trio tells an instrument when it is about to wait and for how long at most. So we wait then, in the engine's
set, which trio's set is a member of, and go on stepping connections until trio has an event, a deadline or a task.

trio's guest mode would need no private name, but waits for trio's events in a thread: where that thread cannot be
started, for lack of memory or of processes, trio cannot go on, and the worker ends with all its tunnels.

What is private in trio is the number of its epoll descriptor. Where it has none, the engine runs as a task of trio's.
"""

import trio

from balancer.net.engine import Engine, Watch


async def serve(engine: Engine, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve the engine until cancelled, and then end it, as ``Engine.run`` does."""
    number = epoll_of_trio()
    if number is None:
        await engine.run(task_status=task_status)
        return
    waiting = _Waiting(engine, _Guest(number, None))
    trio.lowlevel.add_instrument(waiting)
    try:
        await engine.attend(task_status=task_status)
    finally:
        trio.lowlevel.remove_instrument(waiting)
        engine.close()


def epoll_of_trio() -> int | None:
    """Return the descriptor in which trio waits for events; None if this trio does not say."""
    runner = getattr(trio.lowlevel.current_task(), "_runner", None)
    epoll = getattr(getattr(runner, "io_manager", None), "_epoll", None)
    return None if epoll is None else int(epoll.fileno())


class _Guest(Watch):
    """Notes that trio has an event. The descriptor stays trio's."""

    __slots__ = ()

    def close(self) -> None:
        pass


class _Waiting(trio.abc.Instrument):
    """Serves the engine whenever trio is about to wait."""

    def __init__(self, engine: Engine, guest: Watch) -> None:
        self._engine = engine
        self._guest = guest
        self._token = trio.lowlevel.current_trio_token()
        self._scheduled = False
        """A task of trio's has become runnable."""
        engine.watch(guest, level=True)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self._scheduled = True

    def before_io_wait(self, timeout: float) -> None:
        self._scheduled = self._guest.readable = False
        try:
            self._serve(timeout)
        except Exception:  # trio would drop this instrument, and nobody would be served any more
            self._engine.crashed("the engine could not wait; trio waits this once")

    def _serve(self, timeout: float) -> None:
        """Serve until trio has to run; ``timeout`` is when it has to at the latest."""
        engine, guest = self._engine, self._guest
        until = trio.current_time() + timeout
        left = timeout
        while True:
            engine.serve(left)
            if guest.readable:
                return
            left = until - trio.current_time()
            if self._scheduled or left <= 0.0:
                break
        if timeout > 0.0:  # or trio would now wait for so long, as it has planned
            self._token.run_sync_soon(_nothing, idempotent=True)


def _nothing() -> None:
    pass
