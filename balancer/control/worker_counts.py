"""Counters of a pool and its backends, summed over all workers."""

from collections import Counter

from msgspec import Struct

from balancer.pool.backend import Backend
from balancer.pool.counts import Counts
from balancer.pool.retries import Limit
from balancer.pool.traffic import Traffic


class BackendCounts(Struct):
    """Fields are the counters and gauges of ``pool.backend.Backend``."""

    requests: int = 0
    connects: int = 0
    connect_errors: int = 0
    response_errors: int = 0
    full: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    active: int = 0
    tunnels: int = 0
    queued: int = 0
    held: int = 0


class PoolCounts:
    """Counters and gauges of a pool."""

    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter()
        """Requests and connections placed, by reason."""
        self.places: Counter[str] = Counter()
        """Requests by the place where their token was."""
        self.cookies: Counter[str] = Counter()
        """What became of the cookies that remember users."""
        self.traffic = Traffic()
        self.retries = 0
        self.given_up: dict[str, int] = dict.fromkeys(Limit, 0)
        """Requests that failed because a limit allowed no retry, by limit."""
        self.refused = 0
        """Requests refused by ``limits.token_rate``."""

    def show(self, counters: Counts) -> None:
        """Show these sums; see ``pool.counts``."""
        if counters:
            self.decisions = Counter(counters["decisions"])
            self.places = Counter(counters.get("places", {}))
            self.cookies = Counter(counters.get("cookies", {}))
            self.traffic.answers = counters["answers"]
            self.traffic.seconds.counts = counters["seconds"]
            self.traffic.seconds.sum = counters["seconds_sum"]
            self.retries, self.refused = counters["retries"], counters["refused"]
            self.given_up = {limit: counters["given_up"].get(limit, 0) for limit in Limit}


def backend_counts(name: str, counters: Counts, gauges: Counts) -> BackendCounts:
    """Return the sum of what workers have counted of a backend; see ``pool.counts``."""
    counted = counters.get("backends", {}).get(name) or [0] * len(Backend.COUNTERS)
    present = gauges.get("backends", {}).get(name) or [0] * len(Backend.GAUGES)
    pairs = (*zip(Backend.COUNTERS, counted, strict=False), *zip(Backend.GAUGES, present, strict=False))
    return BackendCounts(**dict(pairs))
