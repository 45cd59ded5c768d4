"""When clients do their operations: as fast as they can, one at a time, or at times set beforehand."""

import select
import time
from array import array
from collections import deque
from collections.abc import Sequence

from bench.clients import PATIENCE, Client
from bench.load import Result
from bench.loop import Loop, Steps, Stuck

PAUSE = 0.001
"""Seconds between the operations of quiet clients."""
RATE = 500
"""Operations a second of steady clients, all together."""


def busily(clients: Sequence[Client], seconds: float) -> Result:
    """All clients at once, for so long and until the last answer has come; each does at least one operation."""
    clock = time.perf_counter
    times = array("d")
    began = clock()
    deadline = began + seconds

    def repeat(client: Client) -> Steps:
        now = clock()
        while True:
            yield from client.once()
            before, now = now, clock()
            times.append(now - before)
            if now >= deadline:
                return

    together([repeat(client) for client in clients])
    return _result(times, clock() - began)


def quietly(clients: Sequence[Client], seconds: float) -> Result:
    """One client after the other, with pauses; each does at least one operation."""
    clock = time.perf_counter
    times = array("d")
    began = now = clock()
    while now < began + seconds or len(times) < len(clients):
        together([clients[len(times) % len(clients)].once()])
        times.append(clock() - now)
        time.sleep(PAUSE)
        now = clock()
    return _result(times, now - began)


def steadily(clients: Sequence[Client], seconds: float) -> Result:
    """Operations at ``RATE``, whether answers come in time or not; each by whichever client is free.

    Times begin when an operation was due, not when a client was free for it. Otherwise a proxy that stops for a second
    would spoil a few operations only, and those that had to wait behind them would not count (G. Tene, "coordinated
    omission").
    """
    clock = time.perf_counter
    times = array("d")
    free = deque(clients)
    known = sum(client.reconnects for client in clients)
    loop = Loop()

    def once(client: Client, due: float) -> Steps:
        yield from client.once()
        times.append(clock() - due)
        free.append(client)

    began = clock()
    for number in range(max(len(clients), round(seconds * RATE) + 1)):
        due = began + number / RATE
        while (left := due - clock()) > 0 or not free:
            # select() takes microseconds where epoll would round to milliseconds
            ready, _, _ = select.select([loop], [], [], left if free else PATIENCE)
            if not ready and not free:
                raise Stuck(f"{len(clients)} connections had no answer for {PATIENCE:g} s")
            loop.turn(0)
        loop.start(once(free.popleft(), due))
    loop.run(PATIENCE)
    return _result(times, clock() - began, sum(client.reconnects for client in clients) - known)


def together(all_steps: Sequence[Steps]) -> None:
    """Step these until all have ended."""
    loop = Loop()
    for steps in all_steps:
        loop.start(steps)
    loop.run(PATIENCE)


def _result(times: Sequence[float], seconds: float, reconnects: int = 0) -> Result:
    ordered = sorted(times)
    count = len(ordered)
    middle, late = ordered[count // 2], ordered[count * 99 // 100]
    return Result(count, seconds, middle, late, ordered[-1], reconnects=reconnects)
