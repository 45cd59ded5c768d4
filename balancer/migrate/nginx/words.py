r"""Split a file into words, with nginx's rules of quoting (``ngx_conf_read_token``; checked against nginx 1.22).

A word ends at white space, ``;`` or ``{``; ``}`` is special only where a word could begin, and so are ``#`` and
quotes: ``a"b"`` is one word with its quotes. After a closing quote there must be white space, ``;``, ``{`` or ``)``. A
backslash escapes the next character; it is dropped before quotes and itself, makes a control character
of ``t``, ``r`` and ``n``, and is kept otherwise. ``${`` does not begin a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_SPACE = " \t\r\n"
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "t": "\t", "r": "\r", "n": "\n"}
_LONGEST = 4096


@dataclass(frozen=True)
class Word:
    """A word, or one of the signs ``;``, ``{`` and ``}``."""

    text: str
    line: int
    sign: bool = False


class BadWord(ValueError):
    """A word that nginx would reject, and its line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def split(text: str) -> Iterator[Word]:
    """Yield the words and signs of ``text``. Raise ``BadWord`` for what nginx would reject."""
    at, line = 0, 1
    while at < len(text):
        char = text[at]
        if char == "\n":
            line += 1
            at += 1
        elif char in _SPACE:
            at += 1
        elif char in ";{}":
            yield Word(char, line, sign=True)
            at += 1
        elif char == "#":
            at = end if (end := text.find("\n", at)) >= 0 else len(text)
        else:
            end = _quoted(text, at, line) if char in "\"'" else _bare(text, at)
            if end - at > _LONGEST:
                raise BadWord(line, "a word of more than 4096 characters: is a quote missing?")
            raw = text[at + 1 : end - 1] if char in "\"'" else text[at:end]
            yield Word(_unescaped(raw), line)
            line += text.count("\n", at, end)
            at = end


def _quoted(text: str, at: int, line: int) -> int:
    quote, end = text[at], at + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise BadWord(line, f"the quote ({quote}) that begins here is not closed")
    following = text[end + 1 : end + 2]
    if following and following not in f"{_SPACE};{{)":
        line += text.count("\n", at, end)
        raise BadWord(line, f"expected white space, ; or {{ after a quoted word, not {following!r}")
    return end + 1


def _bare(text: str, at: int) -> int:
    end = at
    while end < len(text):
        char = text[end]
        if char == "\\" or text[end : end + 2] == "${":
            end += 2
        elif char in f"{_SPACE};{{":
            return end
        else:
            end += 1
    return len(text)


def _unescaped(raw: str) -> str:
    if "\\" not in raw:
        return raw
    made, at = [], 0
    while at < len(raw):
        following = raw[at + 1 : at + 2]
        if raw[at] == "\\" and following in _ESCAPES:
            made.append(_ESCAPES[following])
            at += 2
        elif raw[at] == "\\":  # kept; the next character cannot start an escape
            made.append(raw[at : at + 2])
            at += 2
        else:
            made.append(raw[at])
            at += 1
    return "".join(made)
