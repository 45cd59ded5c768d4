"""What an import comes to: the new configuration, and every line of the old one that has no counterpart in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from balancer.errors import ConfigError, Problem
from balancer.migrate.toml import printable


@dataclass(frozen=True, order=True)
class Remark:
    """A directive that could not be carried over, or not as it stood."""

    file: str
    line: int
    what: str
    """The directive's keywords, without its arguments: those may be secrets."""
    message: str
    """What it did, and what to do instead."""

    def __str__(self) -> str:
        return printable(f"{self.file}:{self.line}: {self.what}: {self.message}")


@dataclass
class Outcome:
    """The text of ``balancer.toml``, and what did not make it there, in file order and each line once."""

    text: str
    remarks: list[Remark] = field(default_factory=list)


@dataclass(frozen=True)
class Surroundings:
    """What an import has to know of the machine besides files."""

    environment: Mapping[str, str]
    resolve: Callable[[str], Sequence[str]]
    """The IP addresses of a host name, the preferred first; empty if it has none."""


class Notes:
    """What is found while a configuration is read: what is wrong with it, and what has no counterpart."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}
        self._remarks: set[Remark] = set()

    def problem(self, file: str, line: int | None, what: str, message: str) -> None:
        """Something the other balancer would refuse as well, or that could only be carried over wrongly."""
        self._problems[Problem(printable(file), line, printable(what), printable(message))] = None

    def remark(self, file: str, line: int, what: str, message: str) -> None:
        """A directive without an exact counterpart."""
        self._remarks.add(Remark(file, line, what, message))

    @property
    def remarks(self) -> list[Remark]:
        """In file order, each once, though a line may have been inherited by many sections."""
        return sorted(self._remarks)

    def check(self) -> None:
        """Raise ``ConfigError`` if there has been a problem."""
        if self._problems:
            raise ConfigError(sorted(self._problems, key=lambda each: (each.file, each.line or 0)))
