"""Text for a terminal: aligned columns, colours, times; and the parsers of times and rates."""

import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from balancer.config.scalars import parse_duration

_COLOURS = {"good": "32", "warning": "33", "bad": "31"}
"""Parameters of SGR (ECMA-48, 8.3.117): green, yellow, red."""


@dataclass(frozen=True)
class TableCell:
    """A text with a colour, named by what it means: ``good``, ``warning``, ``bad``, or none."""

    text: str
    colour: str = ""


def paint(text: str, colour: str) -> str:
    """Colour the text if standard output is a terminal and NO_COLOR is not set (https://no-color.org)."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Replace unprintable characters by ``?``: text of others must not send escape sequences to the terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def table(heads: Sequence[str], rows: Iterable[Sequence[TableCell | str]]) -> str:
    """Align the columns, each as wide as its widest cell; columns of numbers are right-aligned."""
    given = [[cell if isinstance(cell, TableCell) else TableCell(cell) for cell in row] for row in rows]
    cells = [[TableCell(printable(cell.text), cell.colour) for cell in row] for row in given]
    widths = [
        max(len(head), *(len(row[i].text) for row in cells)) if cells else len(head) for i, head in enumerate(heads)
    ]
    right = [
        bool(cells) and all(re.match(r"[0-9-]*[ 0-9.%]*$", row[i].text) for row in cells) for i in range(len(heads))
    ]

    def line(row: Sequence[TableCell]) -> str:
        padded = [
            cell.text.rjust(width) if to_right else cell.text.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        painted = [paint(text, cell.colour) for text, cell in zip(padded, row, strict=True)]
        return "  " + "  ".join(painted).rstrip()

    return "\n".join(line(row) for row in [[TableCell(head) for head in heads], *cells])


def count(number: int, noun: str) -> str:
    """Return the number and the noun in singular or plural: ``1 user``, ``2 users``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def parse_time(text: str) -> float:
    """Parse ``2026-11-22T14:05`` (local time, unless it has a zone) or an age such as ``2h``; return Unix time.

    Raises ``ValueError``.
    """
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        raise ValueError(f'expected a time such as "2026-11-22T14:05" or an age such as "2h", not "{text}"') from None


def parse_rate(text: str) -> float:
    """Parse ``5/s``, ``30/m``, ``100/h`` or ``5``; return a rate per second. Raises ``ValueError``."""
    number, _, unit = text.partition("/")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", number) or unit not in ("", "s", "m", "h"):
        raise ValueError(f'expected a rate such as "5/s" or "30/m", not "{text}"')
    return float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
