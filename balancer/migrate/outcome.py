"""What an import comes to: the new configuration, and every line of the old one that has no counterpart in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
    resolve: Callable[[str], str | None]
    """The IP address of a host name; ``None`` if it has none."""
