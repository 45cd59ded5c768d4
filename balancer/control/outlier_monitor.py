"""What follows from health: outliers are ejected, the data plane is told how backends stand, and people hear why."""

import logging

import trio

from balancer.control.placement_controller import PlacementController
from balancer.control.pool_state import PoolState
from balancer.health.outliers import Outcome, Outliers
from balancer.health.results import Verdict

logger = logging.getLogger("balancer.health")

_INSTEAD: dict[Outcome, str] = {
    "dry_run": "would be ejected, were it not for the dry run: ",
    "limit": "not ejected, for too many others are out (max_ejected): ",
}


class OutlierMonitor:
    """Looks at all pools whenever ``look`` is called, which is every half second or so."""

    def __init__(self, keeper: PlacementController) -> None:
        self._keeper = keeper
        self._panics: set[str] = set()
        self._outliers: dict[str, Outliers] = {}

    def look(self) -> None:
        """Do what has come due."""
        for name, book in self._keeper.books.items():
            if book.config.health.passive.mode != "off":
                self._judge_traffic(name, book)
            for backend in book.health:
                self.tell(book, backend)
            if book.pool.panic != (name in self._panics):
                self._note_panic(name, panic=book.pool.panic)

    def _judge_traffic(self, name: str, book: PoolState) -> None:
        now, backends = trio.current_time(), book.pool.backends
        for backend in backends.keys() - book.health.keys():
            book.begin_health(backend).restore(Verdict.UP, now, "not probed")
        for backend in book.health.keys() - backends.keys():
            del book.health[backend]
        outliers = self._outliers.setdefault(name, Outliers(book.config.health))
        outliers.config = book.config.health
        for found in outliers.look({each.name: each.take() for each in backends.values()}, book.health, now):
            if found.outcome != "ejected":  # of that ``tell`` will speak
                self._say(book, found.backend, _INSTEAD[found.outcome] + found.why, logging.WARNING)

    def tell(self, book: PoolState, name: str) -> None:
        """Let the data plane know how a backend stands now, if that is news."""
        standing = book.health[name].stand(now := trio.current_time())
        backend = book.pool.backends.get(name)
        if backend is None or standing == backend.standing:
            return
        before = backend.standing.ejected
        book.pool.stand({name: standing})
        self._keeper.publish()
        if standing.ejected and standing.ejected != before:
            left = book.health[name].ejection.until - now
            self._say(book, name, f"{standing.ejected}; no new users for {left:.0f} s", logging.WARNING)
        elif before and not standing.out:
            self._say(book, name, "takes new users again", logging.INFO)

    def _say(self, book: PoolState, backend: str, said: str, level: int) -> None:
        pool = book.config.name
        logger.log(level, "backend %s of pool %s: %s", backend, pool, said)
        standing = book.pool.backends[backend].standing
        facts = {"down": standing.down, "ejected": standing.ejected or None}
        self._keeper.events.emit("health", f"{backend}: {said}", pool=pool, backend=backend, **facts)

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
