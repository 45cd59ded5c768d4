"""What follows from health: the data plane is told how backends stand, and people are told of panic."""

import logging

from balancer.control.keeper import Keeper

logger = logging.getLogger("balancer.health")


class Judge:
    """Looks at all pools whenever ``look`` is called, which is every half second or so."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._panics: set[str] = set()

    def look(self) -> None:
        """Do what has come due."""
        for name, book in self._keeper.books.items():
            if book.pool.panic != (name in self._panics):
                self._note_panic(name, panic=book.pool.panic)

    def _note_panic(self, pool: str, *, panic: bool) -> None:
        book = self._keeper.books[pool]
        (self._panics.add if panic else self._panics.discard)(pool)
        healthy, threshold = book.pool.healthy, book.pool.config.health.panic_threshold
        if panic:
            said = f"panic: {healthy:.0%} of the pool is healthy, less than {threshold:.0%}, so health is ignored"
        else:
            said = f"the panic is over: {healthy:.0%} of the pool is healthy"
        logger.log(logging.ERROR if panic else logging.WARNING, "pool %s: %s", pool, said)
        self._keeper.events.emit("panic", f"{pool}: {said}", pool=pool, panic=panic, healthy=healthy)
