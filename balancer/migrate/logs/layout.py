"""Log formats as regular expressions that read a line in one go, whatever a client has put into it.

Facts. A format is text with fields in between. A field ends where the text after it begins for the first time:
balancers escape in what clients send the quotes that end it. No field is ever tried a second way (atomic groups), so
the time is linear in the length of the line, also for lines made to be slow. What comes after the last field that is
needed is not looked at, so that a format fits also where more has been added to its end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from balancer.errors import Refused

ANY = ".*?"
"""Up to the text that follows."""


@dataclass(frozen=True)
class Field:
    """A value in a line; ``name`` is what it is to us, empty if it is nothing."""

    name: str
    shown: str
    """As the format has it."""
    pattern: str = ANY
    begins: str = ""
    """The character it begins with, if that is always the same: then it may follow another field directly."""


@dataclass(frozen=True)
class Optional:
    """Something that is there or not, with what follows it."""

    pattern: str


Part = str | Field | Optional


def compiled(parts: Sequence[Part]) -> re.Pattern[bytes]:
    """The expression that matches a line in this format, with a group for each name; of equal names the first counts.

    Raises ``Refused`` where nothing tells two fields apart.
    """
    needed = [i for i, part in enumerate(parts) if isinstance(part, Field) and part.name]
    parts = parts[: needed[-1] + 2] if needed else parts
    pattern = ""
    seen: set[str] = set()
    for i, part in enumerate(parts):
        match part:
            case Optional():
                pattern += f"(?:{part.pattern})?+"
            case Field():
                end = parts[i + 1] if i + 1 < len(parts) else None
                name = part.name if part.name not in seen else ""
                seen.add(name)
                group = f"(?P<{name}>" if name else "(?:"
                pattern += f"(?>{group}{_inner(part, end)}){re.escape(end) if isinstance(end, str) else ''})"
            case str() if not i or not isinstance(parts[i - 1], Field):
                pattern += re.escape(part)
            case _:  # the end of the field before it
                pass
    return re.compile(pattern.encode(), re.DOTALL)


def _inner(field: Field, end: Part | None) -> str:
    if field.pattern != ANY or isinstance(end, str):
        return field.pattern
    if end is None or isinstance(end, Optional):
        return ".*"
    if not end.begins:
        raise Refused(f"the format has {field.shown} and {end.shown} with nothing in between to tell them by")
    return f"[^{re.escape(end.begins)}]*"
