"""The engine of the data plane: coroutines stepped directly by an edge-triggered epoll set.

Some facts about epoll (epoll(7)) and what follows from them here:

- An epoll descriptor is itself pollable, so one trio task can sleep in ``wait_readable(epoll)`` and, when it wakes,
  step every coroutine whose socket became ready. The cost of a wait in trio (an ``epoll_ctl``, a turn of its scheduler,
  a cancel scope) is then paid once per batch, not once per read. Where batches are small it is still the greater part,
  so a worker waits in the engine's set instead: see ``balancer.net.host``.
- Edge-triggered interest is registered once, for both directions, and never modified. The kernel reports a change only
  once, so each ``Watch`` remembers it until a read or write runs dry. A short read on a stream socket means dry
  (epoll(7), question 9), which saves the call that would return EAGAIN, unless the peer has hung up: its FIN makes no
  second edge, so after EPOLLRDHUP the watch stays readable until the end of the stream has been read.
- Readiness is a hint. Another coroutine may have read first, and a reported edge may be old: a wait is always a loop.
- A batch is applied to the watches before any coroutine is stepped. Nothing can close a descriptor in between, so an
  event can never wake the next owner of a reused descriptor number.

Most steps take some 20 µs, but a TLS handshake takes more than a millisecond of CPU, and hundreds of clients may come
back at once. So the engine looks at the clock while it steps, and after ``SPELL`` takes new events from the kernel and
lets trio's tasks run (the heartbeat among them). Tasks that did not get their turn keep their order, and alternate with
those that become ready later: a keystroke in a tunnel does not wait for all the handshakes that were ready before it.

Coroutines here await only ``PARK`` and ``give_way`` (through the transports). They must not await trio.
A coroutine ends by returning, or by an exception thrown at its await point: ``TimedOut`` when it let ``expires`` pass,
``Closed`` when it is ended from outside. Deadlines are checked ten times a second: exact enough for seconds, and free
for the reads and writes in between.
"""

import logging
import math
import os
import select
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import chain, islice
from typing import Final

import trio

from balancer.net.park import PARK
from balancer.shared.compiled import mypyc_attr
from balancer.shared.histogram import Histogram

logger = logging.getLogger("balancer.engine")

LAG_BOUNDS: Final[tuple[float, ...]] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds; see ``Engine.lag``."""
SWEEP_INTERVAL: Final = 0.1
"""Seconds between two checks of the deadlines."""
BATCH: Final = 256
"""Events taken from the kernel at once."""
ROUNDS: Final = 16
"""Batches served before trio's other tasks get their turn."""
SPELL: Final = 0.003
"""Seconds after which they get it in any case."""

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_GONE: Final = select.EPOLLHUP | select.EPOLLERR
_HUNG_UP: Final = select.EPOLLRDHUP | _GONE
_INTEREST: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class TimedOut(Exception):
    """The coroutine's ``expires`` has passed."""


class Closed(Exception):
    """The coroutine is ended from outside; the message says why, for the access log."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Task:
    """A coroutine of the engine. Its owner may move ``expires`` (in ``Engine.now`` time); infinity means never."""

    __slots__ = ("begun", "coro", "expires", "interrupt", "queued", "spent")

    def __init__(self, coro: Coroutine[None, None, None]) -> None:
        self.coro = coro
        self.begun = False
        """It has been stepped, so it waits somewhere. The state of a compiled coroutine cannot be asked for."""
        self.expires = math.inf
        self.interrupt: Exception | None = None
        self.queued = False
        self.spent = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class Watch(ABC):
    """What the kernel last reported of one descriptor, and the task to wake when it reports more."""

    __slots__ = ("fd", "gone", "hung_up", "readable", "task", "writable")

    def __init__(self, fd: int, task: Task | None) -> None:
        self.fd = fd
        self.task = task
        self.readable = False
        self.writable = False
        self.hung_up = False
        """The peer sends no more: it has closed, or only ended its side."""
        self.gone = False
        """The peer takes no more either: it has reset the connection, or both sides have ended."""

    @abstractmethod
    def close(self) -> None:
        """Close the descriptor; may be repeated."""


class _Bell(Watch):
    """Wakes the engine when there is work without an event of a socket: every write to an eventfd makes an edge."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), None)

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        os.close(self.fd)


def _alternating(one: deque[Task], other: deque[Task]) -> deque[Task]:
    """Return the tasks of both, which are empty then, in turns."""
    mixed = deque(chain.from_iterable(zip(one, other, strict=False)))
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    mixed.extend(islice(longer, len(shorter), None))
    one.clear()
    other.clear()
    return mixed


@mypyc_attr(allow_interpreted_subclasses=True)
class Engine:
    """One per worker. ``run`` is its trio task; everything else is synchronous and belongs to the same thread.

    ``clock`` measures how long steps take. It need not be that of ``now``, and may run while this process does not: to
    end a step early costs little.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.now = 0.0
        """trio's time at the last batch."""
        self.current: Task | None = None
        """The task that is being stepped."""
        self.crashes = 0
        """Exceptions that nothing but a fault of ours explains."""
        self.lag = Histogram(LAG_BOUNDS)
        """How late the deadlines were checked, which is how long everything else had to wait for its turn."""
        self.tasks: set[Task] = set()
        self.with_deadlines: list[Callable[[float], None]] = []
        """Called with ``now`` whenever the deadlines have been checked."""
        self._clock = clock
        self._time = trio.current_time
        """trio's clock: the function of the module looks for it anew each time, which is most of a wake-up's cost."""
        self._epoll = select.epoll()
        self._watches: dict[int, Watch] = {}
        self._ready: deque[Task] = deque()
        self._delayed: deque[Task] = deque()
        """Tasks that were ready when an earlier step had to end."""
        self._spare: deque[Task] = deque()
        """Empty; changes places with ``_ready`` for each step."""
        self._stepping = False
        self._bell = _Bell()
        self.watch(self._bell)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then close what is left: coroutines first, then the descriptors they did not close."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.attend)
                task_status.started()
                while True:
                    if self._ready or self._delayed:
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self.serve(0.0)
        finally:
            self.close()

    async def attend(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check the deadlines until cancelled, while somebody else calls ``serve``; then end all connections."""
        self._time = trio.lowlevel.current_clock().current_time
        self.now = self._time()
        try:
            task_status.started()
            await self._sweep()
        finally:
            self._stepping = True  # tasks that are woken from here on are not stepped any more
            for task in list(self.tasks):
                try:
                    task.coro.close()
                except Exception:
                    self.crashed()
            self.tasks.clear()
            for watch in list(self._watches.values()):
                if watch is not self._bell:
                    watch.close()

    def close(self) -> None:
        """Close the engine's own descriptors."""
        self._bell.close()
        self._epoll.close()

    def serve(self, timeout: float) -> None:
        """Wait for events, and step tasks until there are none, but not for long (``SPELL``).

        ``timeout`` is in seconds.
        """
        events = self._epoll.poll(0.0 if self._ready or self._delayed else timeout, BATCH)
        until = self._clock() + SPELL
        rounds = 1
        while self._turn(events, until) and rounds < ROUNDS and self._clock() <= until:
            events = self._epoll.poll(0.0, BATCH)
            rounds += 1

    def watch(self, watch: Watch, *, level: bool = False) -> None:
        """Register the watch's descriptor, or hand a registered one over to another ``Watch`` object.

        ``level``: what can be read is reported again with every batch.
        """
        if watch.fd not in self._watches:
            self._epoll.register(watch.fd, _IN if level else _INTEREST)
        self._watches[watch.fd] = watch

    def watches(self) -> list[Watch]:
        """Return the watches of all registered descriptors."""
        return list(self._watches.values())

    def forget(self, watch: Watch) -> None:
        """Drop a descriptor that is about to be closed."""
        del self._watches[watch.fd]
        self._epoll.unregister(watch.fd)

    def spawn(self, coro: Coroutine[None, None, None]) -> Task:
        """Start a coroutine. It is stepped before this returns or, if called within a step, with the next batch."""
        task = Task(coro)
        self.tasks.add(task)
        self.wake(task)
        return task

    def wake(self, task: Task) -> None:
        """Step a parked task although none of its watches reported anything."""
        if not task.queued:
            task.queued = True
            self._ready.append(task)
        if not self._stepping:
            self.now = trio.current_time()
            self._step_ready(self._clock() + SPELL)
            if self._ready or self._delayed:  # ``run`` may be asleep
                self._bell.ring()

    def throw(self, task: Task, error: Exception) -> None:
        """Raise ``error`` at the task's await point; without effect on a task that has ended."""
        if task in self.tasks:
            if not isinstance(task.interrupt, Closed):  # a task may survive a deadline, but not its end
                task.interrupt = error
            self.wake(task)

    async def give_way(self) -> None:
        """Let all others have a turn, then go on. For a task that has had its share: 256 KiB or 16 operations."""
        task = self.current
        assert task is not None
        self.wake_later(task)
        await PARK

    def wake_later(self, task: Task) -> None:
        """Step a task that is about to park again when all others have had a turn."""
        if not task.queued:
            task.queued = True
            self._ready.append(task)

    def _turn(self, events: list[tuple[int, int]], until: float) -> bool:
        """Take one batch of events and step the tasks they concern; return whether there was anything to do."""
        ready = self._ready
        if not events and not ready and not self._delayed:
            return False
        self.now = self._time()
        watches = self._watches
        for fd, mask in events:
            watch = watches[fd]
            if mask & _IN:
                watch.readable = True
            if mask & _OUT:
                watch.writable = True
            if mask & _HUNG_UP:
                watch.readable = watch.writable = watch.hung_up = True
                if mask & _GONE:
                    watch.gone = True
            task = watch.task
            if task is not None and not task.queued:
                task.queued = True
                ready.append(task)
        self._step_ready(until)
        return True

    def _step_ready(self, until: float) -> None:
        """Step the tasks that are ready now, until the time is up; those that become ready meanwhile come later."""
        self._stepping = True
        now, self._ready = self._ready, self._spare
        if self._delayed:
            now = _alternating(self._delayed, now)
        tasks, clock = self.tasks, self._clock
        for number in range(len(now)):
            task = now.popleft()
            task.queued = False
            if task not in tasks:  # it ended before its turn came
                continue
            task.spent = 0
            self.current = task
            try:
                begun, task.begun = task.begun, True
                if task.interrupt is None:
                    task.coro.send(None)
                else:
                    error, task.interrupt = task.interrupt, None
                    if not begun:
                        task.coro.send(None)  # up to its first wait, so that its cleanup is in place
                    task.coro.throw(error)
            except StopIteration:
                tasks.discard(task)
            except (TimedOut, Closed):
                tasks.discard(task)
            except Exception:
                tasks.discard(task)
                self.crashed()
            if number & 1 and clock() > until:
                self._delayed = now
                now = deque()
                break
        self._spare = now
        self.current = None
        self._stepping = False

    def crashed(self, message: str = "a connection crashed; the others go on") -> None:
        """Log and count the exception that is being handled, which nothing but a fault of ours explains."""
        self.crashes += 1
        logger.exception(message)

    async def _sweep(self) -> None:
        while True:
            due = trio.current_time() + SWEEP_INTERVAL
            await trio.sleep_until(due)
            now = self.now = trio.current_time()
            self.lag.note(now - due)
            for task in [task for task in self.tasks if task.expires <= now]:
                if task.expires <= now:  # the end of another may have moved it
                    task.expires = math.inf
                    self.throw(task, TimedOut())
            for each in self.with_deadlines:
                try:
                    each(now)
                except Exception:
                    self.crashed("a check failed; it is made again with the next deadlines")
