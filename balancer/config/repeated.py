"""Find the first place of what a TOML file has twice: the parser tells only the second, and not its name. Pure."""

import re

_PART = r"""(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_KEY = re.compile(rf"[ \t]*({_PART}(?:[ \t]*\.[ \t]*{_PART})*)[ \t]*=")
_TABLE = re.compile(r"[ \t]*(\[\[?)[ \t]*([^\]\n]+?)[ \t]*\]\]?")


def repeated(text: str, line: int) -> tuple[str, int] | None:
    """Return the key or table on this line (from 1) and the line on which it stood first; None if it is not repeated.

    It is guessed line by line: inside strings of several lines it may be wrong.
    """
    first: dict[tuple[str, str], int] = {}
    table = ""
    elements: dict[str, int] = {}
    """How often each array of tables has begun another element."""
    for number, content in enumerate(text.splitlines()[:line], start=1):
        if header := _TABLE.match(content):
            kind, name = header[1], header[2]
            if kind == "[[":
                elements[name] = elements.get(name, 0) + 1
            # Each element of an array of tables begins anew, with the tables below it.
            above = [count for array, count in elements.items() if f"{name}.".startswith(f"{array}.")]
            table = f"{name} {above}"
            here, said = ("", name if kind == "[[" else table), f"[{name}]"
        elif key := _KEY.match(content):
            here, said = (table, key[1]), key[1]
        else:
            continue
        if number == line:
            return (said, first[here]) if here in first else None
        first.setdefault(here, number)
    return None
