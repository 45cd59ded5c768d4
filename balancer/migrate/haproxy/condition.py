"""Conditional blocks (haproxy 2.6, section 2.4): do the lines between ``.if`` and ``.endif`` count?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from balancer.migrate.haproxy.words import BadLine, Line
from balancer.migrate.outcome import Notes

KEYWORDS = (".if", ".elif", ".else", ".endif")

_TOKEN = re.compile(r"\s*(\|\||&&|!|\(|\)|(-?[0-9]+)(?![\w(])|([a-z_]+)\(([^()]*)\))")
_OF_THE_BUILD = {
    "enabled",
    "feature",
    "openssl_version_atleast",
    "openssl_version_before",
    "ssllib_name_startswith",
    "version_atleast",
    "version_before",
}


class Blocks:
    """The blocks that are open at a line. Each is decided once, by the variables at that line."""

    def __init__(self, environment: Mapping[str, str], notes: Notes) -> None:
        self._environment = environment
        self._notes = notes
        self._open: list[_Block] = []

    @property
    def taken(self) -> bool:
        """Return whether lines count here."""
        return all(block.taken for block in self._open)

    def read(self, line: Line) -> None:
        """Process a line that begins with one of ``KEYWORDS``."""
        keyword = line.words[0]
        if keyword == ".if":
            self._open.append(_Block(line, done=not self.taken))
        elif not self._open:
            self._notes.problem(line.file, line.number, keyword, "has no matching .if")
            return
        block = self._open[-1]
        block.taken = False
        if keyword == ".endif":
            self._open.pop()
        elif not block.done:
            block.taken = block.done = keyword == ".else" or self._holds(line)
            fate = "converted" if block.taken else "not converted"
            message = f"decided on import, as our file has no conditions: the lines after it were {fate}"
            self._notes.remark(line.file, line.number, keyword, message)

    def end(self) -> None:
        """Report blocks that are still open at the end of a file."""
        for block in self._open:
            self._notes.problem(block.line.file, block.line.number, ".if", "has no matching .endif")

    def _holds(self, line: Line) -> bool:
        try:
            value = holds(" ".join(line.words[1:]), self._environment)
            if value is None:
                raise BadLine("depends on the build of haproxy: keep the lines for yours, and remove the .if")
        except BadLine as error:
            self._notes.problem(line.file, line.number, line.words[0], str(error))
            return False
        return value


@dataclass
class _Block:
    line: Line
    done: bool
    """Whether a branch has been taken, or none may be: all further ones are skipped."""
    taken: bool = False


def holds(text: str, environment: Mapping[str, str]) -> bool | None:
    """Return whether a condition is true, None if that depends on the build. Raise ``BadLine`` if it is invalid."""
    return _Condition(text, environment).value()


class _Condition:
    """Recursive descent; ``&&`` binds more tightly than ``||``. Operators keep unknown values unknown."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._tokens: list[re.Match[str]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise BadLine(f'"{text[at:].strip()[:40]}" is not a condition')
            self._tokens.append(match)
            at = match.end()

    def value(self) -> bool | None:
        if not self._tokens:
            return False
        value = self._any()
        if self._tokens:
            raise BadLine(f'"{self._tokens[0][1]}" is unexpected in this condition')
        return value

    def _any(self) -> bool | None:
        values = [self._all()]
        while self._takes("||"):
            values.append(self._all())
        return True if True in values else None if None in values else False

    def _all(self) -> bool | None:
        values = [self._term()]
        while self._takes("&&"):
            values.append(self._term())
        return False if False in values else None if None in values else True

    def _term(self) -> bool | None:
        if self._takes("!"):
            value = self._term()
            return None if value is None else not value
        if self._takes("("):
            value = self._any()
            if not self._takes(")"):
                raise BadLine("a parenthesis is not closed")
            return value
        if not self._tokens or (token := self._tokens.pop(0))[2] is token[3]:
            raise BadLine("this condition is incomplete")
        return int(token[2]) != 0 if token[2] else self._predicate(token[3], token[4])

    def _predicate(self, name: str, text: str) -> bool | None:
        arguments = text.split(",")  # blanks count; quotes were removed with the words of the line
        match name:
            case "defined" if len(arguments) == 1:
                return arguments[0] in self._environment
            case "streq" | "strneq" if len(arguments) == 2:
                return (arguments[0] == arguments[1]) == (name == "streq")
            case _ if name in _OF_THE_BUILD:
                return None
        raise BadLine(f'"{name}({text})" is not a condition')

    def _takes(self, token: str) -> bool:
        if self._tokens and self._tokens[0][1] == token:
            del self._tokens[0]
            return True
        return False
