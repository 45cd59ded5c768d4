"""Find where a TOML file has something that never ends: the parser notices only at the end of the file. Pure."""

import re
import tomllib

_STATEMENT = re.compile(r"[ \t]*[\[A-Za-z0-9_\"'-]")
_TRIES = 100
"""Statements to try from the end: each takes as long as reading the file."""


def unfinished(text: str) -> int:
    """Return the line (from 1) on which the statement begins that is not finished at the end of ``text``.

    All before it is valid. If the statement is very long, return the last line that is not empty.
    """
    lines = text.rstrip().split("\n")
    starts = [number for number, line in enumerate(lines) if _STATEMENT.match(line)]
    for start in starts[: -_TRIES - 1 : -1]:
        try:
            tomllib.loads("\n".join(lines[:start]))
        except ValueError:
            continue
        return start + 1
    return len(lines)
