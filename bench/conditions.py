"""Conditions during a measurement: idle connections of other clients, or repeated actions of operators."""

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

EVENT_INTERVAL = 0.3
"""Seconds from the start of one event to the next, unless it takes longer."""


@contextmanager
def crowd(proxy: Proxy, connections: int, folder: Path) -> Iterator[dict[str, float]]:
    """Keep idle connections open during the block; all must still be open at its end.

    Yields their number, which may be less than ``connections`` if the limit of descriptors is low.
    """
    spec = replace(proxy.spec, kind="idle", connections=affordable(connections))
    with ours(spec, folder) as clients:
        yield {"connections": spec.connections}
        clients.run(0)


@contextmanager
def repeated(proxy: Proxy, event: str) -> Iterator[dict[str, float]]:
    """Repeat an event during the block; yields a sample that is filled in at its end.

    Raises ``BenchError`` if the event failed.
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
                done.wait(EVENT_INTERVAL - taken[-1])
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
