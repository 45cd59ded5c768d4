"""TOML as an operator would write it: tables in order, each key with a comment that says where its value comes from.

The standard library reads TOML and writes none. Text comes from files nobody has checked, so a name may hold anything:
strings are escaped, and a comment shows what would end its line as an escape.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

_WIDTH = 120
_UNITS = (("d", 86400_000), ("h", 3600_000), ("m", 60_000), ("s", 1000), ("ms", 1))

Value = str | bool | int | float | Sequence["Value"] | Mapping[str, "Value"]


@dataclass
class Table:
    """A table, with its keys in the order of ``set`` and the tables below it after them."""

    header: str
    """``[pool.ring]`` or ``[[pool]]``; empty for the top of the document."""
    comment: str = ""
    keys: dict[str, tuple[Value, str]] = field(default_factory=dict)
    tables: list["Table"] = field(default_factory=list)

    def set(self, key: str, value: Value | None, comment: str = "") -> None:
        """Give a key its value; ``None`` leaves it out."""
        if value is not None:
            self.keys[key] = (value, comment)

    def table(self, name: str, comment: str = "") -> "Table":
        """A table below this one, left out of the text as long as it is empty."""
        return self._below(f"[{self._path}{name}]", comment)

    def element(self, name: str, comment: str = "") -> "Table":
        """One more element of the array of tables ``name``."""
        return self._below(f"[[{self._path}{name}]]", comment)

    def lines(self) -> Iterator[str]:
        """The table as text, those below included."""
        if self.keys or self.header.startswith("[[") or not self.header:
            if self.header:
                yield ""
            yield from _comment(self.comment)
            if self.header:
                yield self.header
            for key, (value, comment) in self.keys.items():
                text = f"{key} = {literal(value)}"
                beside = f"{text}  # {printable(comment)}"
                if comment and len(beside) <= _WIDTH:
                    yield beside
                else:
                    yield from _comment(comment)
                    yield text
        for table in self.tables:
            yield from table.lines()

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self.lines())

    @property
    def _path(self) -> str:
        name = self.header.strip("[]")
        return f"{name}." if name else ""

    def _below(self, header: str, comment: str) -> "Table":
        table = Table(header, comment)
        self.tables.append(table)
        return table


def literal(value: Value) -> str:
    """A value in TOML, tables inline; ``ValueError`` for text that no TOML file can hold (lone surrogates)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        value.encode()
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {literal(each)}" for key, each in value.items()) + " }"
    return "[" + ", ".join(map(literal, value)) + "]"


def duration(milliseconds: int) -> str:
    """A duration as the configuration has it, in the largest unit that leaves no fraction: ``"90s"``, ``"2m"``."""
    unit, size = next((unit, size) for unit, size in _UNITS if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"


def printable(text: str) -> str:
    """Text on one line, what no comment may hold as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() else literal(key)


def _comment(text: str) -> Iterator[str]:
    """Comment lines; a line break in ``text`` is kept."""
    for paragraph in text.split("\n") if text else ():
        lines = wrap(printable(paragraph), _WIDTH - 2, break_on_hyphens=False)
        yield from (f"# {line}" for line in lines) if lines else "#"
