"""The one thing that coroutines of the engine await.

Not compiled: a coroutine that mypyc has compiled cannot be a bare generator. Awaiting a prepared object costs what a
generator costs, and none has to be made for each wait.
"""

from collections.abc import Awaitable
from typing import Final


class _Park(tuple[None, ...]):
    """Yields once to the engine, which steps the coroutine again when there is a reason to."""

    __slots__ = ()
    __await__ = tuple.__iter__


PARK: Final[Awaitable[None]] = _Park((None,))  # type: ignore[assignment]  # an iterator will do for a generator
"""Await it to sleep until one of the task's watches reports something. Spurious wakes happen: loop on the condition."""
