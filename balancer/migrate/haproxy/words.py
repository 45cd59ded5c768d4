r"""Split a line into words, with haproxy's rules of quoting (manual of 2.6, section 2.2; checked against haproxy).

Blanks separate words, ``#`` starts a comment. Between single quotes every character is literal. Between double
quotes blanks and ``#`` are, and ``$NAME``, ``${NAME}``, ``${NAME-default}`` are replaced (a dot may begin a name, and
ends it elsewhere); outside of them ``$`` is not special. A variable that is not set is empty, and ``${NAME[*]}``
becomes as many words as its value has. A backslash escapes a blank, ``\``, ``#`` and both quotes, between double quotes
also ``$``; ``\r``, ``\n``, ``\t``, ``\xHH`` are control characters; before anything else, and between single quotes, it
is literal.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_WORDS = 64

_VARIABLE = re.compile(r"\$(?:([A-Za-z_.][A-Za-z0-9_]*)|\{([A-Za-z_.][A-Za-z0-9_]*)(\[\*\])?(?:-([^}]*))?\})")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})")
_ESCAPES = {" ": " ", "\\": "\\", "#": "#", '"': '"', "'": "'", "r": "\r", "n": "\n", "t": "\t"}
_BLANKS = " \t\r\v\f"


@dataclass(frozen=True)
class Line:
    """The words of a line, and its position."""

    file: str
    number: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class BadLine(ValueError):
    """A line that haproxy would reject, and the reason."""


def split(line: str, variable: Callable[[str, str | None], str]) -> tuple[str, ...]:
    """Return the words of ``line``. ``variable`` maps a name and its default to a value. Raise ``BadLine``."""
    return _Line(line, variable).words()


class _Line:
    def __init__(self, text: str, variable: Callable[[str, str | None], str]) -> None:
        self._text = text
        self._variable = variable
        self._at = 0
        self._words: list[str] = []
        self._word: str | None = None

    def words(self) -> tuple[str, ...]:
        text, quote = self._text, ""
        while self._at < len(text):
            char = text[self._at]
            if char == quote:
                quote = ""
            elif quote == "'":
                self._add(char)
            elif char in "\"'" and not quote:
                quote = char
                self._add("")
            elif char == "\\":
                self._escape(quote)
            elif char == "$" and quote:
                self._replace()
                continue
            elif quote:
                self._add(char)
            elif char == "#":
                break
            elif char in _BLANKS:
                self._end()
            else:
                self._add(char)
            self._at += 1
        if quote:
            raise BadLine(f"a quote ({quote}) is not closed")
        self._end()
        if len(self._words) > MAX_WORDS:
            raise BadLine(f"more than {MAX_WORDS} words")
        return tuple(self._words)

    def _add(self, text: str) -> None:
        self._word = (self._word or "") + text

    def _end(self) -> None:
        if self._word is not None:
            self._words.append(self._word)
            self._word = None

    def _escape(self, quote: str) -> None:
        after = self._text[self._at + 1 : self._at + 2]
        if after == "x":
            match = _HEX.match(self._text, self._at + 1)
            if match is None:
                raise BadLine(r"\x needs two hexadecimal digits")
            code = int(match[1], 16)
            if code == 0:
                raise BadLine(r"\x00 ends the line for haproxy")
            self._add(bytes([code]).decode("utf-8", "surrogateescape"))
            self._at += 3
        elif after in _ESCAPES or (after == "$" and quote):
            self._add(_ESCAPES.get(after, after))
            self._at += 1
        else:
            self._add("\\")

    def _replace(self) -> None:
        match = _VARIABLE.match(self._text, self._at)
        if match is None:
            raise BadLine('"$" is not followed by the name of a variable (write \\$ for a literal "$")')
        self._at = match.end()
        value = self._variable(match[1] or match[2], match[4])
        if match[3] is None:
            self._add(value)
            return
        first, *others = value.split() or [""]
        self._add(first)
        for other in others:
            self._end()
            self._add(other)
