"""What takes too long to count whenever somebody looks: strays, and the shares of a ring. Counted now and then."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from balancer.control.compute import compute
from balancer.control.keeper import Keeper
from balancer.control.movers import Movers
from balancer.errors import Refused
from balancer.ring.base import Ring

logger = logging.getLogger("balancer.scan")

INTERVAL = 5.0
"""Seconds between two counts."""


@dataclass(frozen=True)
class RingFacts:
    """A ring in numbers, by backend."""

    fingerprint: str
    shares: Mapping[str, float]
    points: Mapping[str, int]


class Scan:
    """The last counts, by pool; none of a pool before its first."""

    def __init__(self, keeper: Keeper, movers: Movers) -> None:
        self.strays: dict[str, int] = {}
        self.rings: dict[str, RingFacts] = {}
        self._keeper = keeper
        self._movers = movers

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            try:
                for name in self._keeper.books:
                    await self._count(name)
            except Refused as error:
                logger.warning("strays and shares are as they were: %s", error)
            except Exception:  # numbers that are late must not end the daemon
                logger.exception("counting strays and shares failed")
            await trio.sleep(INTERVAL)

    async def _count(self, name: str) -> None:
        self.strays[name] = await self._movers.count_strays(name)
        ring = self._keeper.book(name).ring
        known = self.rings.get(name)
        if known is None or known.fingerprint != ring.fingerprint:
            self.rings[name] = await compute(ring_facts, ring)


def ring_facts(ring: Ring) -> RingFacts:
    """The numbers of a ring; takes long for a large one."""
    return RingFacts(ring.fingerprint, ring.shares(), ring.point_counts())
