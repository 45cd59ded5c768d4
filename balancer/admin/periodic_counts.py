"""Numbers that take too long to count on request: strays, and the shares of a ring. Counted when something has
changed, and now and then: users come and go."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from balancer.control.compute import compute
from balancer.control.events import Events
from balancer.control.evictions import Evictions
from balancer.control.pools import Pools
from balancer.errors import Refused
from balancer.ring.base import Ring
from balancer.ring.plan import side

logger = logging.getLogger("balancer.scan")

INTERVAL = 5.0
"""Seconds between two counts while nothing changes."""
PAUSE = 0.2
"""Least seconds between two counts."""


@dataclass(frozen=True)
class RingCounts:
    """Points and shares of a ring, by backend."""

    fingerprint: str
    shares: Mapping[str, float]
    points: Mapping[str, int]


class PeriodicCounts:
    """The last counts by pool; a pool that has not been counted is missing."""

    def __init__(self, pools: Pools, evictions: Evictions, events: Events) -> None:
        self.strays: dict[str, int] = {}
        self.rings: dict[str, RingCounts] = {}
        self._pools = pools
        self._events = events
        self._evictions = evictions

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            place = self._events.newest(0)
            try:
                for name in list(self._pools.states):
                    await self._count(name)
            except Refused as error:
                logger.warning("strays and shares could not be counted: %s", error)
            except Exception:  # late numbers must not end the daemon
                logger.exception("counting strays and shares failed")
            await trio.sleep(PAUSE)
            with trio.move_on_after(INTERVAL):
                await self._events.wait_behind(place)

    async def _count(self, name: str) -> None:
        pool_state = self._pools.states.get(name)
        if pool_state is None:  # a reload has removed it meanwhile
            return
        ring = pool_state.ring
        self.strays[name] = await self._evictions.count_strays(name)
        known = self.rings.get(name)
        if known is None or known.fingerprint != ring.fingerprint:
            self.rings[name] = await compute(ring_counts, ring)


def ring_counts(ring: Ring) -> RingCounts:
    """Count a ring; this takes long for a large one."""
    return RingCounts(ring.fingerprint, side(ring).shares, ring.point_counts())
