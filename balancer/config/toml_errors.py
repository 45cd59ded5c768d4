"""Say what is wrong with a file that is not TOML, and where: the parser's words are for those who know TOML. Pure."""

import re

from balancer.config.repeated import repeated
from balancer.config.scalars import shown
from balancer.config.unfinished import unfinished

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")
_TUPLE = re.compile(r"\(('[^()]*'),?\)")
_WORD = re.compile(r"[^\W\d_]|[\u2018-\u201f`\u00b4\u00ab\u00bb]")
"""The beginning of a string without quotes, or with those that a word processor writes."""


def explain(text: str, error: ValueError) -> tuple[int | None, str]:
    """Return the line (from 1) where ``text`` stops being TOML, if it is known, and why, in the words of ``error``."""
    what = str(error)
    place = _PLACE.search(what)
    if place is None:
        return None, what
    what = what[: place.start()]
    if place[1] is None:
        return unfinished(text), f"{what} at the end of the file; what begins here does not end"
    line, column = int(place[1]), int(place[2])
    lines = text.split("\n")
    if what.startswith("Unclosed"):
        begin = unfinished("\n".join(lines[:line]))
        thing = what.removeprefix("Unclosed ")
        return begin, f"the {thing} that begins here is not closed, or a comma is missing (noticed in line {line})"
    if what == "Illegal character '\\n'":
        return line, "a string on this line has no closing quote"
    if what == "Invalid value" and _WORD.match(lines[line - 1], column - 1):  # not shown: it may be a secret
        begin = unfinished("\n".join(lines[:line]))
        open_before = f", or what begins in line {begin} is not closed" if begin < line else ""
        return line, f"{what}: strings stand in straight quotes{open_before}"
    what = _TUPLE.sub(lambda match: shown(".".join(part.strip("' ") for part in match[1].split(","))), what)
    if (twice := repeated(text, line)) is not None:
        what += f": {shown(twice[0])} stands here for the second time (see line {twice[1]})"
    return line, what
