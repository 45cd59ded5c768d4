"""A writer of TOML for people: tables in order, and a comment at each key that says where its value comes from.

The standard library reads TOML but does not write it. Text comes from unchecked files and may contain anything:
strings are escaped, and so is whatever would end the line of a comment.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

_WIDTH = 120
_UNITS = (("d", 86400_000), ("h", 3600_000), ("m", 60_000), ("s", 1000), ("ms", 1))

Value = str | bool | int | float | Sequence["Value"] | Mapping[str, "Value"]


@dataclass
class TomlTable:
    """A table: its keys in the order of ``set``, then the tables below it."""

    header: str
    """``[pool.ring]`` or ``[[pool]]``; empty for the root table."""
    comment: str = ""
    keys: dict[str, tuple[Value, str]] = field(default_factory=dict)
    defaults: set[str] = field(default_factory=set)
    """Keys behind a #."""
    tables: list["TomlTable"] = field(default_factory=list)

    def set(self, key: str, value: Value | None, comment: str = "", *, default: bool = False) -> None:
        """Set a key; ``None`` leaves it out, and a ``default`` is only shown."""
        if value is not None:
            self.keys[key] = (value, comment)
            if default:
                self.defaults.add(key)

    def table(self, name: str, comment: str = "") -> "TomlTable":
        """Add a table below this one. An empty one is not written."""
        return self._below(f"[{self._path}{name}]", comment)

    def element(self, name: str, comment: str = "") -> "TomlTable":
        """Append an element to the array of tables ``name``."""
        return self._below(f"[[{self._path}{name}]]", comment)

    def lines(self) -> Iterator[str]:
        """Yield the lines of this table and of those below it."""
        if self.keys or self.header.startswith("[[") or not self.header:
            if self.header:
                yield ""
            yield from _comment(self.comment)
            if self.header:
                yield self.header
            for key, (value, comment) in self.keys.items():
                text = f"{'# ' if key in self.defaults else ''}{key} = {literal(value)}"
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

    def _below(self, header: str, comment: str) -> "TomlTable":
        table = TomlTable(header, comment)
        self.tables.append(table)
        return table


def literal(value: Value) -> str:
    """Return a value as TOML, tables inline. Raise ``ValueError`` for lone surrogates, which TOML cannot express."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        value.encode()
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{written_key(key)} = {literal(each)}" for key, each in value.items()) + " }"
    return "[" + ", ".join(map(literal, value)) + "]"


def duration(milliseconds: int) -> str:
    """Return a duration in the largest unit that leaves no fraction: ``"90s"``, ``"2m"``."""
    unit, size = next((unit, size) for unit, size in _UNITS if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"


def printable(text: str) -> str:
    """Return text on one line, with characters that a comment must not contain escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def written_key(key: str) -> str:
    """Return a key, quoted if it has to be."""
    return key if key.isascii() and key.replace("_", "a").replace("-", "a").isalnum() else literal(key)


def _comment(text: str) -> Iterator[str]:
    """Comment lines; a line break in ``text`` is kept."""
    for paragraph in text.split("\n") if text else ():
        lines = wrap(printable(paragraph), _WIDTH - 2, break_on_hyphens=False)
        yield from (f"# {line}" for line in lines) if lines else "#"
