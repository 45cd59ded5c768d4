"""Rings and explanations."""

from balancer.admin.responses.common import answer


@answer
class LoadView:
    """A backend's share of all tokens divided by the share that its weight stands for."""

    backend: str
    of_fair: float


@answer
class LossView(LoadView):
    """The highest load that the loss of one backend puts on another."""

    lost: str


@answer
class SideView:
    """Figures of a ring."""

    fingerprint: str
    weights: dict[str, float]
    shares: dict[str, float]
    fullest: LoadView
    worst_loss: LossView | None
    """Null with a single backend."""


@answer
class RingView(SideView):
    """The active ring."""

    pool: str
    algorithm: str
    points: dict[str, int]
    balance: str
    """How even the shares are, in words."""


@answer
class CandidateView:
    """A backend in the order of a token."""

    backend: str
    skipped: str | None
    """Why it is skipped, if it is."""


@answer
class Live:
    """Where the user is connected."""

    place: str
    tunnels: int


@answer
class ExplanationView:
    """Where a token goes or went, and why."""

    pool: str
    fingerprint: str
    position: str
    """The token's hash."""
    point: str
    """The ring point or slot that owns the token."""
    owner: str
    candidates: list[CandidateView]
    members: int
    """Backends on the ring."""
    rule: str | None
    """The rule that overrides the ring, in words."""
    placed: str | None
    if_lost: str | None
    """Where the token goes if that backend fails."""
    digest: str


@answer
class ExplanationNow(ExplanationView):
    """Where a token goes now."""

    live: Live | None
    """Null if the user is not connected."""
    token_from: list[str]
    """The places in requests where the tokens of the user's open tunnels were found."""


@answer
class ExplanationThen(ExplanationView):
    """Where a token went in the past."""

    at: float
    """Unix time."""
