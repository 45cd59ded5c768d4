"""What goes on around a proxy while it is measured: other people's open connections, or what operators do to it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

from bench.load import ours
from bench.measure import Proxy, affordable
from bench.process import BenchError

EVERY = 0.3
"""Seconds from one event to the next, if it does not take longer."""


@contextmanager
def crowd(proxy: Proxy, connections: int, folder: Path) -> Iterator[dict[str, float]]:
    """So many clients have had an answer, and keep their connections open without a word. All must live after it.

    They are fewer if the limit of descriptors is low; gives their number.
    """
    aim = replace(proxy.aim, kind="crowd", connections=affordable(connections))
    with ours(aim, folder) as clients:
        yield {"connections": aim.connections}
        clients.run(0)


@contextmanager
def repeated(proxy: Proxy, event: str) -> Iterator[dict[str, float]]:
    """Do it over and over; gives numbers that are there once the block has ended.

    Raises ``BenchError`` if it failed, or was not done once.
    """
    act = proxy.peer.events[event]
    taken: list[float] = []
    failures: list[Exception] = []
    done = threading.Event()

    def repeat() -> None:
        try:
            while not done.is_set():
                began = time.perf_counter()
                act(proxy.site, proxy.pid, len(taken) + 1)
                taken.append(time.perf_counter() - began)
                done.wait(EVERY - taken[-1])
        except (OSError, HTTPException, BenchError) as error:
            failures.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    numbers: dict[str, float] = {}
    try:
        yield numbers
    finally:
        done.set()
        thread.join()
    if failures:
        raise BenchError(f"{event} failed: {failures[0]}")
    numbers["events"] = len(taken)
