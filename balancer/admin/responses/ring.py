"""Rings, and where a token goes."""

from balancer.admin.responses.common import answer


@answer
class LoadView:
    """A backend's share of all tokens in relation to the share its weight stands for: 1 is fair."""

    backend: str
    of_fair: float


@answer
class LossView(LoadView):
    """The worst that the loss of one backend can do: the load of its heir."""

    lost: str


@answer
class SideView:
    """A ring in numbers."""

    fingerprint: str
    weights: dict[str, float]
    shares: dict[str, float]
    fullest: LoadView
    worst_loss: LossView | None
    """Null with a single backend."""


@answer
class RingView(SideView):
    """The ring in force."""

    pool: str
    algorithm: str
    points: dict[str, int]
    balance: str
    """How even it is, in words."""


@answer
class CandidateView:
    """A backend in a token's order."""

    backend: str
    skipped: str | None
    """Why it is passed over, if it is."""


@answer
class Live:
    """Where a user is connected."""

    place: str
    tunnels: int


@answer
class ExplanationView:
    """Where a token goes, or went, and why."""

    pool: str
    fingerprint: str
    position: str
    """The token's hash."""
    point: str
    """The end of its owner's arc, or what stands for it."""
    owner: str
    candidates: list[CandidateView]
    members: int
    """Backends on the ring."""
    rule: str | None
    """What overrides the ring, in words."""
    placed: str | None
    if_lost: str | None
    """Where the token goes if that backend is lost."""
    digest: str


@answer
class ExplanationNow(ExplanationView):
    """Where a token goes."""

    live: Live | None
    """Null for a user who is not connected."""


@answer
class ExplanationThen(ExplanationView):
    """Where a token went."""

    at: float
    """Unix time."""
