"""Pure work that takes long, such as building the ring of 500 backends: in a thread, one at a time.

The thread takes turns with control's own tasks at the interpreter lock, every 5 ms (``sys.getswitchinterval``), which
probes and operators do not notice. Users are in other processes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import trio

T = TypeVar("T")

_one = trio.CapacityLimiter(1)


async def compute(function: Callable[..., T], *args: Any) -> T:  # noqa: ANN401  # whatever the function takes
    """Return ``function(*args)``, computed in a thread; raise what it raises."""
    return await trio.to_thread.run_sync(function, *args, limiter=_one)
