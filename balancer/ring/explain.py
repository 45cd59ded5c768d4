"""Why a token is where it is, and where it would go."""

from dataclasses import dataclass
from itertools import islice

from balancer.ring.base import Ring


@dataclass(frozen=True)
class Candidate:
    """A backend in the order of the ring; ``skipped`` says why it is passed over, if it is."""

    backend: str
    skipped: str | None = None


@dataclass(frozen=True)
class Explanation:
    """One token on one ring. The token itself is not in it.

    The ring alone fills all but ``rule`` and the reasons of skipped candidates; a caller that knows pins, leases and
    the state of backends replaces those (``dataclasses.replace``).
    """

    fingerprint: str
    position: int
    """The token's hash."""
    point: int
    """The end of the owner's arc, its nearest point, its slot or its draw."""
    candidates: tuple[Candidate, ...]
    """The owner, then its successors, as many as were asked for."""
    members: int
    """How many backends the ring has."""
    rule: str | None = None
    """What overrides the ring, such as a pin or a lease, in words."""
    overridden: str | None = None
    """The backend that ``rule`` chose."""

    @property
    def placed(self) -> str | None:
        """Where the token goes; None if every candidate is skipped."""
        return self.overridden or next((each.backend for each in self.candidates if each.skipped is None), None)

    @property
    def if_lost(self) -> str | None:
        """Where the token goes if that backend is lost; None if there is no other candidate."""
        others = (each.backend for each in self.candidates if each.skipped is None and each.backend != self.placed)
        return next(others, None)


def explain(ring: Ring, token: bytes, limit: int | None = None) -> Explanation:
    """Where ``token`` is on ``ring``, with its first ``limit`` candidates (all by default)."""
    return Explanation(
        fingerprint=ring.fingerprint,
        position=ring.position(token),
        point=ring.point(token),
        candidates=tuple(map(Candidate, islice(ring.order(token), limit))),
        members=len(ring.members),
    )
