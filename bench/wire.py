"""What a lease costs on the link between a worker and control: ``python -m bench.wire``.

Each user that connects and leaves is two messages of a worker, ``Opened`` and ``Ended``. The messages are encoded and
decoded as on the link (frames of MessagePack), without frames, as JSON by the same library, and as pickles of plain
dataclasses, in which the link was written before. Times are of the processor, the best of several rounds.
"""

import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass

import msgspec

from balancer.ipc.messages import TO_CONTROL, Ended, Opened
from balancer.ipc.wire import encode

LEASES = 20_000
ROUNDS = 7


@dataclass(frozen=True)
class _PickledOpened:
    session: int
    pool: str
    token: bytes | None
    backend: str


@dataclass(frozen=True)
class _PickledEnded:
    session: int


def main() -> int:
    """Print the table; the exit code."""
    opened = [
        Opened(number, "ide", b"%064x" % number, "ide-07", "192.0.2.17", "web", 1_700_000_000.5)
        for number in range(LEASES)
    ]
    ended = [Ended(number) for number in range(LEASES)]
    pickled = [
        batch
        for one, other in zip(opened, ended, strict=True)
        for batch in ([_PickledOpened(one.session, one.pool, one.token, one.backend)], [_PickledEnded(other.session)])
    ]
    messages = [each for pair in zip(opened, ended, strict=True) for each in pair]
    assert astuple(pickled[0][0])[0] == messages[0].session
    packed, json = msgspec.msgpack, msgspec.json
    ways: dict[str, Callable[[], object]] = {
        "as sent": lambda: [TO_CONTROL.decode(encode(each)) for each in messages],
        "MessagePack": lambda: [packed.decode(packed.encode(each), type=type(each)) for each in messages],
        "JSON": lambda: [json.decode(json.encode(each), type=type(each)) for each in messages],
        "pickle": lambda: [pickle.loads(pickle.dumps(batch, protocol=-1)) for batch in pickled],
    }
    print(f"{'':12}{'us a lease':>12}{'% of a core at 1,000 a second':>32}")
    for name, way in ways.items():
        spent = min(_processor(way) for _ in range(ROUNDS)) / LEASES
        print(f"{name:12}{spent * 1e6:>12.2f}{spent * 1000 * 100:>32.2f}")
    return 0


def _processor(way: Callable[[], object]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
