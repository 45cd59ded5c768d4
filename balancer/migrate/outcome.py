"""The result of an import: the new configuration, and every line of the old one that has no counterpart in it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from balancer.errors import ConfigError, Problem
from balancer.migrate.toml import printable


class Effect(Enum):
    """What a remark means for those who use the new configuration."""

    ACCESS = "access"
    """Something that kept clients out was left out, and so were its listeners, or everybody may enter."""
    TRAFFIC = "traffic"
    """Left out, and requests notice."""
    CHANGED = "changed"
    """Carried over with a difference."""
    NONE = "none"
    """Left out, and no request notices."""

    def __lt__(self, other: "Effect") -> bool:
        return self.value < other.value


@dataclass(frozen=True, order=True)
class Remark:
    """A directive that was not converted, or not exactly."""

    file: str
    line: int
    what: str
    """The directive's keywords without its arguments, which may be secrets."""
    message: str
    """What it did, and what to do instead."""
    effect: Effect = Effect.TRAFFIC

    def __str__(self) -> str:
        return printable(f"{self.file}:{self.line}: {self.what}: {self.message}")


@dataclass
class Outcome:
    """The text of ``balancer.toml``, and a remark for each line that has no exact counterpart, in file order."""

    text: str
    remarks: list[Remark] = field(default_factory=list)
    carried: int = 0
    """How many directives have no remark."""

    @property
    def complete(self) -> bool:
        """Return whether nothing was left out that affects traffic or access."""
        return not any(each.effect in (Effect.ACCESS, Effect.TRAFFIC) for each in self.remarks)

    def summary(self) -> str:
        """Return in one line how much was carried over, changed and left out."""
        count = Counter(each.effect for each in self.remarks)
        noticed = count[Effect.TRAFFIC] + count[Effect.ACCESS]
        access = f" ({count[Effect.ACCESS]} of them kept clients out)" if count[Effect.ACCESS] else ""
        return (
            f"{self.carried} directives carried over, {count[Effect.CHANGED]} changed, {noticed} left out with effect "
            f"on traffic{access}, {count[Effect.NONE]} left out without"
        )

    def as_json(self) -> dict[str, object]:
        """Return the summary and the remarks for programs."""
        count = Counter(each.effect for each in self.remarks)
        remarks = [
            {
                "file": each.file,
                "line": each.line,
                "what": each.what,
                "message": each.message,
                "effect": each.effect.value,
            }
            for each in self.remarks
        ]
        return {
            "complete": self.complete,
            "carried_over": self.carried,
            **{effect.value: count[effect] for effect in Effect},
            "remarks": remarks,
        }


@dataclass(frozen=True)
class Surroundings:
    """What an import uses of the machine besides files."""

    environment: Mapping[str, str]
    resolve: Callable[[str], Sequence[str]]
    """Returns the IP addresses of a host name, the preferred one first; empty if there are none."""
    allow_open: bool = False
    """Write listeners although access control in front of them has no counterpart."""


class Notes:
    """Problems and remarks collected while a configuration is read."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}
        self._remarks: set[Remark] = set()

    def problem(self, file: str, line: int | None, what: str, message: str) -> None:
        """Add an error: the other balancer would reject the line as well, or its conversion would move users."""
        self._problems[Problem(printable(file), line, printable(what), printable(message))] = None

    def remark(self, file: str, line: int, what: str, message: str, effect: Effect = Effect.TRAFFIC) -> None:
        """Add a remark on a directive without an exact counterpart."""
        self._remarks.add(Remark(file, line, what, message, effect))

    def bar(self, file: str, line: int, what: str, reason: str, *, opened: bool) -> None:
        """Add a remark on access control without a counterpart; ``opened`` if its listeners are written anyway."""
        then = "left out, so everybody may enter (--allow-open)" if opened else "its listeners are not written"
        self.remark(file, line, what, f"keeps clients out, which no rule here can do ({reason}): {then}", Effect.ACCESS)

    @property
    def barred(self) -> list[Remark]:
        """Return the remarks on access control that was left out."""
        return [each for each in self.remarks if each.effect is Effect.ACCESS]

    def outcome(self, text: str, places: Iterable[tuple[str, int]]) -> Outcome:
        """Return the outcome of an import of the directives at these places."""
        told = {(each.file, each.line) for each in self._remarks}
        return Outcome(text, self.remarks, len(set(places) - told))

    @property
    def remarks(self) -> list[Remark]:
        """Return the remarks in file order, each once, even if many sections inherit the line."""
        return sorted(self._remarks)

    def check(self) -> None:
        """Raise ``ConfigError`` if there are problems."""
        if self._problems:
            raise ConfigError(sorted(self._problems, key=lambda each: (each.file, each.line or 0)))
