"""Find the line of each key of a TOML document; ``tomllib`` does not report positions.

The text has been accepted by ``tomllib``, so this scanner does not validate it. What it has to know of TOML 1.0:

- A key is dotted parts, each bare, "basic" (with escapes) or 'literal', with blanks around the dots.
- ``[[a]]`` starts another element of the array ``a``; a later ``[a.b]`` or ``[[a.b]]`` belongs to the latest one.
- Strings hide brackets, hashes and newlines. A multi-line string ends at the first three quotes that are not
  escaped, and up to two more quotes directly after them are still its content.
- Arrays run over lines and hold comments; inline tables hold dotted keys.
- Naming ``a.b`` creates ``a``: until ``[a]`` itself comes, its line is where it was first mentioned.
"""

import re
import tomllib

from balancer.config.finding import Key

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_VALUE = re.compile(
    "|".join(
        [
            r'"""(?:\\.|[^\\])*?"{3,5}',
            r"'''.*?'{3,5}",
            r'"(?:\\.|[^"\\\n])*"',
            r"'[^'\n]*'",
            r"[^,\]}\n#]*",
        ]
    ),
    re.DOTALL,
)


def lines(text: str) -> dict[Key, int]:
    """Return the line, from 1, of every table, key and array element of a valid document with ``\\n`` line ends."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def nearest(found: dict[Key, int], key: Key) -> int | None:
    """Return the line of ``key`` or, if it is missing, of the nearest table around it."""
    while key and key not in found:
        key = key[:-1]
    return found.get(key)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Key, int] = {}
        self.line = 1
        self.counted = 0
        self.elements: dict[Key, int] = {}

    def document(self) -> None:
        table: Key = ()
        while self.skip(_BLANK) < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Key:
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        start = self.at
        self.at += brackets
        *parents, name = self.key()
        key: Key = ()
        for part in parents:
            key = self.latest((*key, part))
        key = (*key, name)
        if brackets == 2:
            self.elements[key] = self.elements.get(key, 0) + 1
        key = self.latest(key)
        self.mark(key, start)
        self.at += brackets
        return key

    def latest(self, key: Key) -> Key:
        """The table that a header refers to: of an array of tables, the last element so far."""
        return (*key, self.elements[key] - 1) if key in self.elements else key

    def key(self) -> list[str]:
        parts = []
        while True:
            self.skip(_SPACE)
            start = self.at
            part = self.text[start : self.skip(_KEY)]
            parts.append(tomllib.loads(f"part = {part}")["part"] if part[0] in "\"'" else part)
            self.skip(_SPACE)
            if self.text[self.at] != ".":
                return parts
            self.at += 1

    def pair(self, table: Key) -> None:
        start = self.at
        key = (*table, *self.key())
        self.mark(key, start)
        self.at += 1
        self.skip(_SPACE)
        self.value(key)

    def value(self, key: Key) -> None:
        if self.text[self.at] == "[":
            self.at += 1
            index = 0
            while self.more("]"):
                self.mark((*key, index), self.at)
                self.value((*key, index))
                index += 1
        elif self.text[self.at] == "{":
            self.at += 1
            while self.more("}"):
                self.pair(key)
        else:
            self.skip(_VALUE)

    def more(self, end: str) -> bool:
        """Skip blanks and a comma; True if another item follows, False after the closing bracket, which is skipped."""
        self.skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self.skip(_BLANK)
        if self.text[self.at] == end:
            self.at += 1
            return False
        return True

    def mark(self, key: Key, position: int) -> None:
        self.line += self.text.count("\n", self.counted, position)
        self.counted = position
        self.lines[key] = self.line
        for end in range(1, len(key)):
            self.lines.setdefault(key[:end], self.line)

    def skip(self, pattern: re.Pattern[str]) -> int:
        if match := pattern.match(self.text, self.at):
            self.at = match.end()
        return self.at
