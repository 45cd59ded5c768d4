"""Say what is wrong with a file that is not TOML, and where: the parser's words are for those who know TOML. Pure."""

import re

from balancer.config.repeated import repeated
from balancer.config.scalars import shown
from balancer.config.unfinished import unfinished

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")
_TUPLE = re.compile(r"\(('[^()]*'),?\)")
_WORD = re.compile(r"[^\W\d_]|[\u2018-\u201f`\u00b4\u00ab\u00bb]")
"""The beginning of a string without quotes, or with those that a word processor writes."""
_KEY = re.compile(r"[ \t]*([A-Za-z0-9_.-]+)[ \t]*=")
_NUMBER = re.compile(r"[^=\n]*=[ \t]*[+-]?[0-9]")
_EMPTY = re.compile(r"[^=\n]*=\s*(?:#.*)?")
_HEADER = re.compile(r"[ \t]*(\[\[?)[ \t]*([^\]\n]+?)[ \t]*\]\]?")
_OTHERS = re.compile(
    r"(?:\s|#[^\n]*\n)*(?:(?P<haproxy>(?:global|defaults|frontend|backend|listen|peers)\b)"
    r"|(?P<nginx>(?:http|events|upstream|server|stream|user|worker_processes|pid|include)\b))"
)
"""The first word of another balancer's file."""
_ADVICE = {
    "Expected newline": "only a comment may follow a value on its line",
    "Expected '=' after a key": "expected KEY = VALUE, or the [TABLE] that the keys below it belong to",
    "Expected ']": "the name of a table is not closed, or something follows it: expected [TABLE] or [[TABLE]]",
    "Invalid initial character for a key part": "expected a key here; a table in braces { } stands on one line",
    "Unescaped": r"a backslash in a string is written \\; between single quotes it stands for itself",
}
"""What to do, by how the words of the parser begin."""


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
    if (advice := _advice(lines, line, column, what)) is not None:
        return line, advice
    what = _TUPLE.sub(lambda match: shown(".".join(part.strip("' ") for part in match[1].split(","))), what)
    if (twice := repeated(text, line)) is not None:
        what += f": {shown(twice[0])} stands here for the second time (see line {twice[1]}); put all in one place"
    return line, what


def _advice(lines: list[str], line: int, column: int, what: str) -> str | None:
    """Return what to do about a mistake that people make; None for others. Values are not shown: they may be secret."""
    content = lines[line - 1]
    if what == "Invalid value" and _WORD.match(content, column - 1):
        begin = unfinished("\n".join(lines[:line]))
        open_before = f", or what begins in line {begin} is not closed" if begin < line else ""
        return f"{_whose(content)}strings stand in straight quotes, true and false are in small letters{open_before}"
    if what == "Invalid value" and _EMPTY.fullmatch(content):
        return f"{_whose(content)}there is none"
    if what.startswith("Expected newline") and _NUMBER.match(content):
        return f'{_whose(content)}a value with more than a number, such as "30s", stands in straight quotes'
    if what.startswith("Expected '=' after a key") and (other := _OTHERS.match("\n".join(lines))):
        return f"this is a configuration of {other.lastgroup}: `balancer import {other.lastgroup} FILE` converts it"
    for beginning, advice in _ADVICE.items():
        if what.startswith(beginning):
            return advice
    header = _HEADER.match(content)
    return None if header is None else _order(lines, line, header[1], header[2])


def _order(lines: list[str], line: int, brackets: str, name: str) -> str | None:
    """Return what to do about a table on this line that does not go with those before; None if that is not known."""
    above = [(number, each) for number, each in enumerate(map(_HEADER.match, lines[: line - 1]), 1) if each is not None]
    for number, each in above:
        if brackets == "[" and each[1] == "[[" and each[2] == name:
            return f"each table of an array begins with two brackets: [[{name}]], as in line {number}"
        if brackets == "[[" and each[2].startswith(f"{name}."):
            return f"[[{name}]] has to come before what belongs to it, which begins in line {number}"
    return None


def _whose(content: str) -> str:
    """Return the beginning of a message about the value on this line."""
    return f"the value of {key[1]}: " if (key := _KEY.match(content)) else ""
