"""Adds pins through a keeper until it is killed, and tells each one once it has been acknowledged.

Run as ``python pinner.py FOLDER``. Every line of the input starts one keeper in a child of its own, so that Python and
its modules are loaded once; ``gone`` is said when that child has ended.
"""

import os
import sys
import time
from pathlib import Path

import trio
from state import Kept, config

from balancer.overlay.overlay import Pin
from balancer.store.journal import Journal


async def add_pins(folder):
    journal = Journal(folder)
    kept = Kept(config(), journal, time.time)
    known = kept.pool_state("ide").overlay.pins
    print(os.getpid(), *known, flush=True)
    for number in range(len(known), 1 << 20):
        digest = f"{number:016x}"
        await kept.change("ide", [Pin(digest=digest, backend="a")], "tests")
        print(digest, flush=True)


def main(folder):
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            trio.run(add_pins, folder)
        os.waitpid(child, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
