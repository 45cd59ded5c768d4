"""What a change would do, and who is not where they belong."""

from typing import Annotated

from pydantic import Field

from balancer.admin.responses.changes import Made
from balancer.admin.responses.common import answer
from balancer.admin.responses.ring import SideView
from balancer.overlay.overlay import Change


@answer
class MoveView:
    """A share of all tokens that changes hands."""

    source: Annotated[str, Field(alias="from")]
    to: str
    share: float
    needless: bool
    """No change of weights asks for it."""


@answer
class UserMove:
    """Connected users who would belong elsewhere."""

    source: Annotated[str, Field(alias="from")]
    to: str
    users: int


@answer
class PlanUsers:
    """Whom of the connected users a plan concerns; they stay where they are while connected."""

    connected: int
    moving: int
    tunnels: int
    moves: list[UserMove]


@answer
class RingPlan:
    """What a change does to the ring of a pool."""

    # Texts below fields would be missing from the description of the types that inherit them.
    pool: str
    id: str
    moved: Annotated[float, Field(description="Share of all tokens.")]
    needless: float
    exact: Annotated[bool, Field(description="Or counted with a sample.")]
    sample: int
    standard_error: float
    moves: list[MoveView]
    before: SideView
    after: SideView


@answer
class PlanView(RingPlan):
    """What a change would do; nothing has been changed."""

    based_on: str
    """Version of the pool."""
    changes: list[Change]
    users: PlanUsers


@answer
class AppliedView(Made):
    """A plan that is in force."""

    plan: str
    changes: list[Change]


@answer
class SettlingView:
    """How far sending strays home is."""

    rate: float
    """Users a second."""
    strays: int
    moved: int
    skipped: int
    """Left where they are, or gone."""
    done: bool


@answer
class SettlingNow:
    """Strays being sent home; null if nobody has asked for it."""

    settling: SettlingView | None


@answer
class StrayView:
    """A user who is not where they belong."""

    digest: str
    place: str
    home: str
    tunnels: int


@answer
class Strays:
    """Users who are not where they belong."""

    pool: str
    count: int
    settling: SettlingView | None
    strays: list[StrayView]
