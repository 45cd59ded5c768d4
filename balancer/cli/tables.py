"""How answers look on a terminal: aligned columns, colours, times and durations."""

import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from balancer.config.scalars import parse_duration

_COLOURS = {"good": "32", "odd": "33", "bad": "31"}


@dataclass(frozen=True)
class Cell:
    """A text, with a colour that says how good a sign it is: ``good``, ``odd`` or ``bad``."""

    text: str
    colour: str = ""


def paint(text: str, colour: str) -> str:
    """The text in a colour, on a terminal that is not asked to do without (https://no-color.org)."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def clean(text: str) -> str:
    """A text that others have written, without what a terminal would take for orders."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> str:
    """Columns as wide as their widest cell; a column of numbers is set to the right."""
    given = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    cells = [[Cell(clean(cell.text), cell.colour) for cell in row] for row in given]
    widths = [
        max(len(head), *(len(row[i].text) for row in cells)) if cells else len(head) for i, head in enumerate(heads)
    ]
    right = [
        bool(cells) and all(re.match(r"[0-9-]*[ 0-9.%]*$", row[i].text) for row in cells) for i in range(len(heads))
    ]

    def line(row: Sequence[Cell]) -> str:
        padded = [
            cell.text.rjust(width) if to_right else cell.text.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        painted = [paint(text, cell.colour) for text, cell in zip(padded, row, strict=True)]
        return "  " + "  ".join(painted).rstrip()

    return "\n".join(line(row) for row in [[Cell(head) for head in heads], *cells])


def moment(stamp: float) -> str:
    """A Unix time in the local time zone."""
    return datetime.fromtimestamp(stamp).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def count(number: int, noun: str) -> str:
    """``1 user``, ``2 users``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def parse_moment(text: str) -> float:
    """``2026-11-22T14:05`` (local time, unless it names a zone) or how long ago, ``2h``, as Unix time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        raise ValueError(f'a time is "2026-11-22T14:05", or how long ago, such as "2h", not "{text}"') from None


def parse_rate(text: str) -> float:
    """``5/s``, ``30/m`` or ``5``, in users a second."""
    number, _, unit = text.partition("/")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", number) or unit not in ("", "s", "m", "h"):
        raise ValueError(f'a rate is "5/s" or "30/m", not "{text}"')
    return float(number) / {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
