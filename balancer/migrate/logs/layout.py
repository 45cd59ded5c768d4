"""Log formats as regular expressions that match a line in one pass, whatever a client sent.

A format is text with fields in between. A field ends at the first occurrence of the text after it:
balancers escape the quotes in what clients send. Fields are matched without backtracking (atomic groups), so
time is linear in the length of the line, even if a client crafted it. Whatever follows the last field that is
needed is ignored, so a format also matches lines with additions at the end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from balancer.errors import Refused

ANY = ".*?"
"""Matches up to the text that follows."""


@dataclass(frozen=True)
class Field:
    """A value in a line; ``name`` is what we use it for, or empty."""

    name: str
    shown: str
    """As the format writes it."""
    pattern: str = ANY
    begins: str = ""
    """The character it always begins with, if any: then it may follow another field directly."""


@dataclass(frozen=True)
class Optional:
    """Something that may be missing, including what follows it."""

    pattern: str


Part = str | Field | Optional


def compiled(parts: Sequence[Part]) -> re.Pattern[bytes]:
    """Return an expression for lines in this format, with a group for each name; the first of equal names counts.

    Raise ``Refused`` if nothing separates two fields.
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
            case _:  # part of the field before it
                pass
    return re.compile(pattern.encode(), re.DOTALL)


def _inner(field: Field, end: Part | None) -> str:
    if field.pattern != ANY or isinstance(end, str):
        return field.pattern
    if end is None or isinstance(end, Optional):
        return ".*"
    if not end.begins:
        raise Refused(f"the format has {field.shown} and {end.shown} with nothing in between that separates them")
    return f"[^{re.escape(end.begins)}]*"
