"""Explain the placement of a token, and where it would go if its backend were lost."""

from dataclasses import dataclass
from itertools import islice

from balancer.ring.base import Ring


@dataclass(frozen=True)
class Candidate:
    """A backend in the order of the ring; ``skipped`` is the reason why it is passed over, if it is."""

    backend: str
    skipped: str | None = None


@dataclass(frozen=True)
class Explanation:
    """The placement of one token on one ring, without the token itself.

    ``explain`` knows only the ring. A caller that knows pins, leases and the state of backends adds ``rule``,
    ``overridden`` and the reasons of skipped candidates (``dataclasses.replace``).
    """

    fingerprint: str
    position: int
    """The token's hash."""
    point: int
    """What the position belongs to, see ``Ring.point``."""
    candidates: tuple[Candidate, ...]
    """The owner, then its successors, as many as were asked for."""
    members: int
    """How many backends the ring has."""
    rule: str | None = None
    """Description of what overrides the ring, such as a pin or a lease."""
    overridden: str | None = None
    """The backend that ``rule`` chose."""

    @property
    def placed(self) -> str | None:
        """The backend that gets the token; None if every candidate is skipped."""
        return self.overridden or next((each.backend for each in self.candidates if each.skipped is None), None)

    @property
    def if_lost(self) -> str | None:
        """The backend that gets the token if ``placed`` is lost; None if there is no other candidate."""
        others = (each.backend for each in self.candidates if each.skipped is None and each.backend != self.placed)
        return next(others, None)


def explain(ring: Ring, token: bytes, limit: int | None = None) -> Explanation:
    """Explain where ``token`` is on ``ring``, with its first ``limit`` candidates (by default all)."""
    return Explanation(
        fingerprint=ring.fingerprint,
        position=ring.position(token),
        point=ring.point(token),
        candidates=tuple(map(Candidate, islice(ring.order(token), limit))),
        members=len(ring.members),
    )
