"""When clients do their operations: as fast as possible, one at a time, or at a fixed rate."""

import select
import time
from array import array
from collections import deque
from collections.abc import Sequence

from bench.clients import ANSWER_TIMEOUT, Client
from bench.load import Result
from bench.loop import Loop, Stalled, Steps

PAUSE = 0.001
"""Seconds between the operations of quiet clients."""


def closed_loop(clients: Sequence[Client], seconds: float) -> Result:
    """Run all clients at once, until the time is over and the last answer has arrived; each at least one operation."""
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

    run_all([repeat(client) for client in clients])
    return _result(times, clock() - began)


def one_at_a_time(clients: Sequence[Client], seconds: float) -> Result:
    """Run one client after the other, with pauses; each at least one operation."""
    clock = time.perf_counter
    times = array("d")
    began = now = clock()
    while now < began + seconds or len(times) < len(clients):
        run_all([clients[len(times) % len(clients)].once()])
        times.append(clock() - now)
        time.sleep(PAUSE)
        now = clock()
    return _result(times, now - began)


def fixed_rate(clients: Sequence[Client], seconds: float, rate: int) -> Result:
    """Run ``rate`` operations a second, whether answers arrive in time or not, each by a client that is free.

    Latencies count from when an operation was due, not from when a client was free for it. Otherwise a proxy that stops
    for a second would delay only a few operations, and those that had to wait behind them would not count (G. Tene,
    "coordinated omission").
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
    for number in range(max(len(clients), round(seconds * rate) + 1)):
        due = began + number / rate
        while (left := due - clock()) > 0 or not free:
            # select() takes microseconds, epoll would round to milliseconds
            ready, _, _ = select.select([loop], [], [], left if free else ANSWER_TIMEOUT)
            if not ready and not free:
                raise Stalled(f"{len(clients)} connections had no answer for {ANSWER_TIMEOUT:g} s")
            loop.turn(0)
        loop.start(once(free.popleft(), due))
    loop.run(ANSWER_TIMEOUT)
    return _result(times, clock() - began, sum(client.reconnects for client in clients) - known)


def run_all(all_steps: Sequence[Steps]) -> None:
    """Step all generators until they have ended."""
    loop = Loop()
    for steps in all_steps:
        loop.start(steps)
    loop.run(ANSWER_TIMEOUT)


def _result(times: Sequence[float], seconds: float, reconnects: int = 0) -> Result:
    ordered = sorted(times)
    count = len(ordered)
    middle, late = ordered[count // 2], ordered[count * 99 // 100]
    return Result(count, seconds, middle, late, ordered[-1], reconnects=reconnects)
