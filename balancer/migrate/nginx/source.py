"""Files of a configuration as a tree of directives, includes put in their place."""

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
    """A directive, and where it stands."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int
    block: list["Directive"] | None = None
    """What stands between its braces; None without any."""

    def all(self, name: str) -> list["Directive"]:
        """The directives of this name directly in its block."""
        return [each for each in self.block or () if each.name == name]

    def last(self, name: str) -> "Directive | None":
        """The last of them."""
        return next(iter(reversed(self.all(name))), None)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read(path: Path, notes: Notes) -> Directive:
    """The whole configuration as one block without a name; what is wrong with it goes to ``notes``."""
    reader = _Reader(path.absolute().parent, notes)
    return Directive("", (), str(path), 0, reader.file(path, ()))


class _Reader:
    def __init__(self, base: Path, notes: Notes) -> None:
        self._base = base
        self._notes = notes

    def file(self, path: Path, through: tuple[Path, ...], kind: str = "") -> list[Directive]:
        """The directives of a file; ``through`` are the files that include it, in a block of this ``kind``."""
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
            self._notes.problem(name, line, "", "holds a NUL byte: this is no text, so no configuration of nginx")
            return []
        try:
            return self._block(_Words(split(text), text.count("\n") + 1), path, None, (*through, path.resolve()), kind)
        except BadWord as error:
            self._notes.problem(name, error.line, "", str(error))
            return []

    def _block(
        self, words: "_Words", path: Path, opened: Word | None, through: tuple[Path, ...], kind: str
    ) -> list[Directive]:
        """Directives up to the brace that closes what ``opened``, or to the end of the file."""
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
                    raise BadWord(first.line, "this } closes nothing")
                return found
            if first.sign:
                raise BadWord(first.line, f"a directive should begin here, not {first.text}")
            found += self._directive(words, first, path, through, kind)

    def _directive(
        self, words: "_Words", first: Word, path: Path, through: tuple[Path, ...], kind: str
    ) -> list[Directive]:
        args: list[str] = []
        while True:
            word = words.next()
            if word is None:
                raise BadWord(words.end, f"the file ends inside {shown(first.text)} of line {first.line}: is it whole?")
            if not word.sign:
                args.append(word.text)
                continue
            if word.text == "}":
                raise BadWord(word.line, f"{shown(first.text)} (line {first.line}) is not ended by a semicolon")
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
            hint = f"did you mean {close[0]}?" if close else "is this a configuration of nginx, without other modules?"
            self._notes.problem(directive.file, directive.line, "", f"{shown(name)} is no directive; {hint}")
        elif blocky and directive.block is None:
            self._notes.problem(directive.file, directive.line, name, "has no block: { is missing")
        elif not blocky and directive.block is not None:
            message = "has a block where none belongs: is a semicolon missing?"
            self._notes.problem(directive.file, directive.line, name, message)

    def _included(self, directive: Directive, through: tuple[Path, ...], kind: str) -> list[Directive]:
        if len(directive.args) != 1:
            self._notes.problem(directive.file, directive.line, "include", "wants one file")
            return []
        pattern = self._base / directive.args[0]
        files = [Path(each) for each in sorted(glob(str(pattern)))]
        if not files and not any(sign in directive.args[0] for sign in "*?["):
            self._notes.problem(directive.file, directive.line, "include", f"there is no file {pattern}")
        found: list[Directive] = []
        for file in files:
            if file.resolve() in through or len(through) > _DEEPEST:
                message = f"{file} is included by itself, so the files never end"
                self._notes.problem(directive.file, directive.line, "include", message)
            else:
                found += self.file(file, through, kind)
        return found


class _Words:
    """Words one after the other, and the line at which the file ends."""

    def __init__(self, words: Iterator[Word], end: int) -> None:
        self._words = words
        self.end = end

    def next(self) -> Word | None:
        return next(self._words, None)
