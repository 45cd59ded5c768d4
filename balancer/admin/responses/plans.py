"""Plans of changes, and strays."""

from typing import Annotated

from pydantic import Field

from balancer.admin.responses.changes import Made
from balancer.admin.responses.common import answer
from balancer.admin.responses.ring import SideView
from balancer.overlay.overlay import Change


@answer
class MoveView:
    """A share of all tokens that moves from one backend to another."""

    source: Annotated[str, Field(alias="from")]
    to: str
    share: float
    needless: bool
    """Not required by the change of weights."""


@answer
class UserMove:
    """Connected users who would belong to another backend."""

    source: Annotated[str, Field(alias="from")]
    to: str
    users: int


@answer
class PlanUsers:
    """Connected users that a plan affects; they stay where they are while connected."""

    connected: int
    moving: int
    tunnels: int
    pairs: int
    """Pairs of backends between which users would move."""
    moves: list[UserMove]
    """The largest of these: at most 1000."""


@answer
class RingPlan:
    """What a change does to the ring of a pool."""

    # Docstrings of fields would be missing from the types that inherit them.
    pool: str
    id: str
    moved: Annotated[float, Field(description="Share of all tokens.")]
    needless: float
    exact: Annotated[bool, Field(description="Or counted with a sample.")]
    sample: int
    standard_error: float
    pairs: Annotated[int, Field(description="Pairs of backends between which tokens move.")]
    moves: Annotated[list[MoveView], Field(description="The largest of these: at most 1000.")]
    before: SideView
    after: SideView


@answer
class PlanView(RingPlan):
    """What a change would do; nothing was changed."""

    based_on: str
    """Version of the pool that the plan was made on."""
    changes: list[Change]
    users: PlanUsers


@answer
class AppliedView(Made):
    """A plan that was applied."""

    plan: str
    changes: list[Change]


@answer
class SettlingView:
    """Progress of moving strays home."""

    rate: float
    """Users per second."""
    strays: int
    moved: int
    skipped: int
    """Users who stayed or have left."""
    done: bool


@answer
class SettlingNow:
    """Strays being moved home; null if that was not asked for."""

    settling: SettlingView | None


@answer
class StrayView:
    """A user on another backend than the ring says."""

    digest: str
    place: str
    home: str
    tunnels: int


@answer
class Strays:
    """Users on another backend than the ring says."""

    pool: str
    count: int
    settling: SettlingView | None
    strays: list[StrayView]
