"""The result of an import: the new configuration, and every line of the old one that has no counterpart in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from balancer.errors import ConfigError, Problem
from balancer.migrate.toml import printable


@dataclass(frozen=True, order=True)
class Remark:
    """A directive that was not converted, or not exactly."""

    file: str
    line: int
    what: str
    """The directive's keywords without its arguments, which may be secrets."""
    message: str
    """What it did, and what to do instead."""

    def __str__(self) -> str:
        return printable(f"{self.file}:{self.line}: {self.what}: {self.message}")


@dataclass
class Outcome:
    """The text of ``balancer.toml``, and a remark for each line that has no exact counterpart, in file order."""

    text: str
    remarks: list[Remark] = field(default_factory=list)


@dataclass(frozen=True)
class Surroundings:
    """What an import uses of the machine besides files."""

    environment: Mapping[str, str]
    resolve: Callable[[str], Sequence[str]]
    """Returns the IP addresses of a host name, the preferred one first; empty if there are none."""


class Notes:
    """Problems and remarks collected while a configuration is read."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}
        self._remarks: set[Remark] = set()

    def problem(self, file: str, line: int | None, what: str, message: str) -> None:
        """Add an error: the other balancer would reject the line as well, or its conversion would move users."""
        self._problems[Problem(printable(file), line, printable(what), printable(message))] = None

    def remark(self, file: str, line: int, what: str, message: str) -> None:
        """Add a remark on a directive without an exact counterpart."""
        self._remarks.add(Remark(file, line, what, message))

    @property
    def remarks(self) -> list[Remark]:
        """Return the remarks in file order, each once, even if many sections inherit the line."""
        return sorted(self._remarks)

    def check(self) -> None:
        """Raise ``ConfigError`` if there are problems."""
        if self._problems:
            raise ConfigError(sorted(self._problems, key=lambda each: (each.file, each.line or 0)))
