"""Which cell of the shared counters belongs to which backend."""

from collections.abc import Iterable

from balancer.errors import Refused
from balancer.shared.counters import CAPACITY


class Slots:
    """Gives each backend the index of its cells, the same for as long as the backend exists.

    Control has one. A slot that became free is given out as late as possible, so that a worker which does not know yet
    that it is free does not count for another backend.
    """

    def __init__(self) -> None:
        self._slots: dict[tuple[str, str], int] = {}
        self._next = 0

    def assign(self, pool: str, backends: Iterable[str]) -> dict[str, int]:
        """Return the slots of all backends of the pool; those that are not named any more lose theirs."""
        names = dict.fromkeys(backends)
        for key in [key for key in self._slots if key[0] == pool and key[1] not in names]:
            del self._slots[key]
        taken = set(self._slots.values())
        for name in names:
            if (pool, name) not in self._slots:
                if len(taken) == CAPACITY:
                    raise Refused(f"more than {CAPACITY} backends")
                while self._next in taken:
                    self._next = (self._next + 1) % CAPACITY
                self._slots[pool, name] = self._next
                taken.add(self._next)
                self._next = (self._next + 1) % CAPACITY
        return {name: self._slots[pool, name] for name in names}
