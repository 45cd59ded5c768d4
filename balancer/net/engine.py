"""The engine of the data plane: coroutines stepped directly by an edge-triggered epoll set nested in trio.

Some facts about epoll (epoll(7)) and what follows from them here:

- An epoll descriptor is itself pollable, so one trio task can sleep in ``wait_readable(epoll)`` and, when it wakes,
  step every coroutine whose socket became ready. trio's price for a wait (an ``epoll_ctl``, a turn of its scheduler,
  a cancel scope) is then paid once per batch, not once per read.
- Edge-triggered interest is registered once, for both directions, and never modified. The kernel tells us of a change
  only once, so each ``Watch`` remembers it until a read or write runs dry. A short read on a stream socket means dry
  (epoll(7), question 9), which saves the call that would say EAGAIN, unless the peer has hung up: its FIN makes no
  second edge, so after EPOLLRDHUP the watch stays readable until the end of the stream has been read.
- Readiness is a hint. Another coroutine may have read first, and a reported edge may be old: whoever waits loops.
- A batch is applied to the watches before any coroutine is stepped. Nothing can close a descriptor in between, so an
  event can never wake the next owner of a reused descriptor number.

Coroutines here await only ``park`` and ``give_way`` (through the transports). They must not await trio.
A coroutine ends by returning, or by an exception thrown at its await point: ``TimedOut`` when it let ``expires`` pass,
``Closed`` when somebody ended it from outside. Deadlines are looked at ten times a second: exact enough for seconds,
and free for the reads and writes in between.
"""

import logging
import math
import os
import select
import types
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Coroutine, Generator
from inspect import CORO_CREATED, getcoroutinestate

import trio

from balancer.shared.histogram import Histogram

logger = logging.getLogger("balancer.engine")

LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds; see ``Engine.lag``."""
SWEEP_INTERVAL = 0.1
"""Seconds between two looks at the deadlines."""
BATCH = 256
"""Events taken from the kernel in one go."""
ROUNDS = 16
"""Batches served before trio's other tasks get their turn."""
SPELL = 0.01
"""Seconds after which they get it in any case: batches of a flood of new connections take long."""

_IN = select.EPOLLIN
_OUT = select.EPOLLOUT
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_INTEREST = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class TimedOut(Exception):
    """The coroutine's ``expires`` has passed."""


class Closed(Exception):
    """The coroutine is ended from outside; the message says why: a drain is over, the process stops."""


class Task:
    """A coroutine of the engine. ``expires`` (in ``Engine.now`` time) is its owner's to move; infinity means never."""

    __slots__ = ("coro", "expires", "interrupt", "queued", "spent")

    def __init__(self, coro: Coroutine[None, None, None]) -> None:
        self.coro = coro
        self.expires = math.inf
        self.interrupt: Exception | None = None
        self.queued = False
        self.spent = 0


class Watch(ABC):
    """What the kernel last said of one descriptor, and the task to wake when it says more."""

    __slots__ = ("fd", "hung_up", "readable", "task", "writable")

    def __init__(self, fd: int, task: Task | None) -> None:
        self.fd = fd
        self.task = task
        self.readable = False
        self.writable = False
        self.hung_up = False

    @abstractmethod
    def close(self) -> None:
        """Close the descriptor; may be repeated."""


class _Bell(Watch):
    """Wakes the engine when there is work and no socket speaks: an eventfd makes an edge of every write to it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), None)

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        os.close(self.fd)


@types.coroutine
def park() -> Generator[None, None, None]:
    """Sleep until one of the task's watches reports something. Spurious wakes happen: loop on the condition."""
    yield


class Engine:
    """One per worker. ``run`` is its trio task; everything else is synchronous and belongs to the same thread."""

    def __init__(self) -> None:
        self.now = 0.0
        self.current: Task | None = None
        self.crashes = 0
        self.lag = Histogram(LAG_BOUNDS)
        """How late the sweep came: how long everything else had to wait for its turn."""
        self.tasks: set[Task] = set()
        self._epoll = select.epoll()
        self._watches: dict[int, Watch] = {}
        self._ready: deque[Task] = deque()
        self._stepping = False
        self._bell = _Bell()
        self.watch(self._bell)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; whatever is left then is closed: coroutines, then descriptors that no one closed."""
        self.now = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                task_status.started()
                while True:
                    if self._ready:
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                    until = trio.current_time() + SPELL
                    for _ in range(ROUNDS):
                        if not self._turn() or self.now > until:
                            break
        finally:
            self._stepping = True  # whoever is woken from here on is not stepped any more
            for task in list(self.tasks):
                try:
                    task.coro.close()
                except Exception:
                    self.crashed()
            self.tasks.clear()
            for watch in list(self._watches.values()):
                watch.close()
            self._epoll.close()

    def watch(self, watch: Watch) -> None:
        """Register the watch's descriptor, or hand a registered one over to another ``Watch`` object."""
        if watch.fd not in self._watches:
            self._epoll.register(watch.fd, _INTEREST)
        self._watches[watch.fd] = watch

    def forget(self, watch: Watch) -> None:
        """Drop a descriptor that is about to be closed."""
        del self._watches[watch.fd]
        self._epoll.unregister(watch.fd)

    def spawn(self, coro: Coroutine[None, None, None]) -> Task:
        """Start a coroutine; its first step comes before this call returns, or with the next batch."""
        task = Task(coro)
        self.tasks.add(task)
        self.wake(task)
        return task

    def wake(self, task: Task) -> None:
        """Step a parked task although none of its watches spoke."""
        if not task.queued:
            task.queued = True
            self._ready.append(task)
        if not self._stepping:
            self.now = trio.current_time()
            self._step_ready()
            if self._ready:  # what these steps made ready; ``run`` may be asleep
                self._bell.ring()

    def throw(self, task: Task, error: Exception) -> None:
        """Raise ``error`` at the task's await point; without effect on a task that has ended."""
        if task in self.tasks:
            if not isinstance(task.interrupt, Closed):  # who would survive a deadline must not miss the end
                task.interrupt = error
            self.wake(task)

    @types.coroutine
    def give_way(self) -> Generator[None, None, None]:
        """Let everybody else have a turn, then go on. Called by whoever has had 256 KiB or 16 operations."""
        task = self.current
        assert task is not None
        self.wake_later(task)
        yield

    def wake_later(self, task: Task) -> None:
        """Step a task that is about to park again when everybody else has had a turn."""
        if not task.queued:
            task.queued = True
            self._ready.append(task)

    def _turn(self) -> bool:
        """Take one batch of events and step whoever they concern; false when there was nothing to do."""
        events = self._epoll.poll(0, BATCH)
        ready = self._ready
        if not events and not ready:
            return False
        self.now = trio.current_time()
        watches = self._watches
        for fd, mask in events:
            watch = watches[fd]
            if mask & _IN:
                watch.readable = True
            if mask & _OUT:
                watch.writable = True
            if mask & _GONE:
                watch.readable = watch.writable = watch.hung_up = True
            task = watch.task
            if task is not None and not task.queued:
                task.queued = True
                ready.append(task)
        self._step_ready()
        return True

    def _step_ready(self) -> None:
        """Step the tasks that are ready now; those that become ready meanwhile wait for the next batch."""
        self._stepping = True
        ready, tasks = self._ready, self.tasks
        for _ in range(len(ready)):
            task = ready.popleft()
            task.queued = False
            if task not in tasks:  # it ended in an earlier step of this batch
                continue
            task.spent = 0
            self.current = task
            try:
                if task.interrupt is None:
                    task.coro.send(None)
                else:
                    error, task.interrupt = task.interrupt, None
                    if getcoroutinestate(task.coro) == CORO_CREATED:
                        task.coro.send(None)  # up to where its cleanup is in force
                    task.coro.throw(error)
            except StopIteration:
                tasks.discard(task)
            except (TimedOut, Closed):
                tasks.discard(task)
            except Exception:
                tasks.discard(task)
                self.crashed()
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
