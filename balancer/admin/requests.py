"""The bodies of requests to the admin API, as types, and messages for invalid ones.

A body may hold a token, so no message quotes its values; pydantic's messages do not either.
"""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator

from balancer.config.scalars import Level
from balancer.config.section import Array, Name, Section
from balancer.errors import Refused
from balancer.overlay.entries import RingRecord
from balancer.overlay.overlay import MAX_WEIGHT, Change, Text
from balancer.overlay.states import State

T = TypeVar("T", bound=Section)

Token = Annotated[str, StringConstraints(min_length=1, max_length=65536)]
"""A token as in the URL, or ``digest:`` and its digest as in the access log."""
Seconds = Annotated[float, Field(gt=0, le=366 * 86400.0, allow_inf_nan=False)]


class InvalidBody(Refused):
    """The body does not fit the request."""


class TokenBody(Section):
    """A token, or a prefix of tokens."""

    token: Token
    prefix: bool = False


class ExplainBody(Section):
    """Explain where a token goes, or went at Unix time ``at``."""

    token: Token
    at: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class PinBody(Section):
    """A pin, which expires after ``seconds``."""

    token: Token
    prefix: bool = False
    backend: Name
    seconds: Seconds | None = None
    reason: Text = ""


class ReloadBody(Section):
    """Reload, or with ``dry_run`` only show what would change."""

    dry_run: bool = False


class UpgradeBody(Section):
    """Upgrade to a release, by its name or, over the Unix socket, its path; by default to the current one."""

    to: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    dry_run: bool = False
    allow_moves: bool = False
    """Even if users are placed elsewhere by the new version."""


class FinishBody(Section):
    """How long it may take to end previous versions; absent for ``timeouts.close_spread``."""

    over: Annotated[float, Field(ge=0, le=30 * 86400.0, allow_inf_nan=False)] | None = None


class PlanBody(Section):
    """Changes to preview, or the ring and backends of another configuration."""

    changes: Annotated[Array[Change], Field(max_length=1000)] = ()
    to: RingRecord | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> Self:
        if bool(self.changes) == (self.to is not None):
            raise ValueError('give "changes", at least one, or "to"')
        return self


class StateBody(Section):
    """The admin state of a backend; ``dry_run`` only shows whose tunnels it would close, and when."""

    state: State
    cut_after: Seconds | Literal["never"] | None = None
    """Seconds after which the tunnels that are left are closed; absent for the default of the pool."""
    dry_run: bool = False

    @model_validator(mode="after")
    def nothing_to_cut(self) -> Self:
        if self.state == "ready" and self.cut_after is not None:
            raise ValueError("cut_after is for drain and maint: a ready backend keeps its tunnels")
        return self


class WeightBody(Section):
    """A weight, reached at once or over ``over`` seconds."""

    weight: Annotated[float, Field(ge=0.0, le=MAX_WEIGHT, allow_inf_nan=False)]
    over: Annotated[float, Field(ge=0.0, le=30 * 86400.0, allow_inf_nan=False)] = 0.0


class RampBody(Section):
    """What to do with a gradual change of a weight."""

    action: Literal["pause", "resume", "rollback"]


class LogLevelBody(Section):
    """The log level."""

    level: Level


class DrainBody(Section):
    """Whether to ask for no new clients."""

    drain: bool


class SettleBody(Section):
    """How fast to move users."""

    rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class TraceBody(Section):
    """How long a trace pass is valid."""

    seconds: Annotated[float, Field(ge=1, le=7 * 86400.0, allow_inf_nan=False)]


def parse(kind: type[T], body: bytes) -> T:
    """Parse a body as ``kind``. Raise ``InvalidBody`` with every problem."""
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        # A list whose elements are all wrong is not short of elements.
        deep = [each for each in problems if each["type"] != "too_short"] or problems
        lines = [": ".join(filter(None, [_path(each["loc"]), _words(each["msg"])])) for each in deep]
    raise InvalidBody("; ".join(lines))


def _path(key: tuple[int | str, ...]) -> str:
    """``changes #2 > weight``."""
    parts: list[str] = []
    for part in key:
        if isinstance(part, int) and parts:
            parts[-1] += f" #{part + 1}"
        else:
            parts.append(str(part))
    return " > ".join(parts)


def _words(message: str) -> str:
    for pydantic, ours in (
        ("Input should be less than or equal to ", "expected at most "),
        ("Input should be greater than or equal to ", "expected at least "),
        ("Input should be ", "expected "),
        ("String should have at least 1 character", "expected at least one character"),
        ("String should match pattern", "expected a string that matches"),
        ("Extra inputs are not permitted", "unknown here"),
        ("Field required", "missing"),
        ("Tuple should have at least 1 item", "expected at least one"),
        ("Value error, ", ""),
        ("Invalid JSON: ", "this is not JSON: "),
    ):
        if message.startswith(pydantic):
            return ours + message.removeprefix(pydantic)
    return message
