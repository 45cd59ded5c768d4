"""Read configuration files into a tree of directives, with includes replaced by what they include."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob
from pathlib import Path

from balancer.config.scalars import shown
from balancer.migrate.nginx.known import BLOCKS, DATA, NAMES, meaning
from balancer.migrate.nginx.words import BadWord, Word, split
from balancer.migrate.outcome import Notes

_DEEPEST = 40


@dataclass
class Directive:
    """A directive and its position."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int
    block: list["Directive"] | None = None
    """The directives between its braces; None if it has none."""

    def all(self, name: str) -> list["Directive"]:
        """Return the directives of this name directly in the block."""
        return [each for each in self.block or () if each.name == name]

    def last(self, name: str) -> "Directive | None":
        """Return the last of them."""
        return next(iter(reversed(self.all(name))), None)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read(path: Path, notes: Notes) -> Directive:
    """Return the whole configuration as one unnamed block. Errors go to ``notes``."""
    reader = _NginxReader(path.absolute().parent, notes)
    return Directive("", (), str(path), 0, reader.file(path, ()))


class _NginxReader:
    def __init__(self, base: Path, notes: Notes) -> None:
        self._base = base
        self._notes = notes

    def file(self, path: Path, through: tuple[Path, ...], kind: str = "") -> list[Directive]:
        """Read a file that the files ``through`` include, in a block of this ``kind``."""
        name = str(path)
        try:
            data = path.read_bytes()
            text = data.decode()
        except OSError as error:
            self._notes.problem(name, None, "", f"cannot be read: {error.strerror}")
            return []
        except UnicodeDecodeError as error:
            self._notes.problem(name, data.count(b"\n", 0, error.start) + 1, "", "is not UTF-8")
            return []
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            self._notes.problem(name, line, "", "contains a NUL byte: this is not a text file")
            return []
        try:
            return self._block(_Words(split(text), text.count("\n") + 1), path, None, (*through, path.resolve()), kind)
        except BadWord as error:
            self._notes.problem(name, error.line, "", str(error))
            return []

    def _block(
        self, words: "_Words", path: Path, opened: Word | None, through: tuple[Path, ...], kind: str
    ) -> list[Directive]:
        """Read directives up to the brace that closes ``opened``, or to the end of the file."""
        found: list[Directive] = []
        while True:
            first = words.next()
            if first is None:
                if opened is not None:
                    message = f"the file ends inside the block that begins in line {opened.line}: a }} is missing"
                    raise BadWord(words.end, message)
                return found
            if first.sign and first.text == "}":
                if opened is None:
                    raise BadWord(first.line, "this } has no matching {")
                return found
            if first.sign:
                raise BadWord(first.line, f"expected a directive, not {first.text}")
            found += self._directive(words, first, path, through, kind)

    def _directive(
        self, words: "_Words", first: Word, path: Path, through: tuple[Path, ...], kind: str
    ) -> list[Directive]:
        args: list[str] = []
        while True:
            word = words.next()
            if word is None:
                raise BadWord(
                    words.end, f"the file ends inside {shown(first.text)} of line {first.line}: is the file complete?"
                )
            if not word.sign:
                args.append(word.text)
                continue
            if word.text == "}":
                raise BadWord(word.line, f"{shown(first.text)} (line {first.line}) is not terminated by a semicolon")
            break
        directive = Directive(first.text, tuple(args), str(path), first.line)
        if word.text == "{":
            directive.block = self._block(words, path, word, through, first.text)
        if first.text == "include" and word.text == ";":
            return self._included(directive, through, kind)
        if kind not in DATA:
            self._check(directive, blocky=first.text in BLOCKS and (kind, first.text) != ("upstream", "server"))
        return [directive]

    def _check(self, directive: Directive, *, blocky: bool) -> None:
        name = directive.name
        if meaning(name) is None:
            close = get_close_matches(name, NAMES, 1)
            hint = (
                f"did you mean {close[0]}?"
                if close
                else "is this a configuration of nginx without third-party modules?"
            )
            self._notes.problem(
                directive.file, directive.line, "", f"{shown(name)} is not a directive of nginx; {hint}"
            )
        elif blocky and directive.block is None:
            self._notes.problem(directive.file, directive.line, name, "has no block: { is missing")
        elif not blocky and directive.block is not None:
            message = "takes no block: is a semicolon missing?"
            self._notes.problem(directive.file, directive.line, name, message)

    def _included(self, directive: Directive, through: tuple[Path, ...], kind: str) -> list[Directive]:
        if len(directive.args) != 1:
            self._notes.problem(directive.file, directive.line, "include", "expected one file name")
            return []
        pattern = self._base / directive.args[0]
        files = [Path(each) for each in sorted(glob(str(pattern)))]
        if not files and not any(sign in directive.args[0] for sign in "*?["):
            self._notes.problem(directive.file, directive.line, "include", f"file not found: {pattern}")
        found: list[Directive] = []
        for file in files:
            if file.resolve() in through or len(through) > _DEEPEST:
                message = f"{file} includes itself"
                self._notes.problem(directive.file, directive.line, "include", message)
            else:
                found += self.file(file, through, kind)
        return found


class _Words:
    """The words in order, and the last line of the file."""

    def __init__(self, words: Iterator[Word], end: int) -> None:
        self._words = words
        self.end = end

    def next(self) -> Word | None:
        return next(self._words, None)
