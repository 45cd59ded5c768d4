"""Variables that hold the token: ``map`` blocks that choose the first of several variables that is not empty.

``map $arg_token $user { default $arg_token; "" $cookie_token; }``, and chains of such blocks. Any other map computes
something of the token, which no place in a request can express.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from balancer.config.scalars import shown
from balancer.migrate.nginx.source import Directive

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_OPTIONS = ("hostnames", "volatile")

Maps = Mapping[str, Directive]
"""``map`` blocks by the variable that they set."""


class Place(NamedTuple):
    """A variable of nginx that is a part of the request."""

    variable: str
    where: Directive | None
    """The map it stands in; None for the key itself."""


def variable_in(text: str) -> str:
    """Return the name of the variable that ``text`` consists of, or an empty string."""
    match = _VARIABLE.fullmatch(text)
    return (match[1] or match[2]) if match else ""


def cannot_compute(text: str) -> str:
    """Return the message about a key that is more than a part of the request."""
    return f"the value of {shown(text)} cannot be computed here, so users would be placed elsewhere"


def places(text: str, maps: Maps, where: Directive | None = None, inside: tuple[str, ...] = ()) -> list[Place]:
    """Return the variables that ``text`` takes its value from, in the order in which they are tried.

    Raise ``ValueError`` if it is anything else than the first of them that is not empty.
    """
    name = variable_in(text)
    if name not in maps:
        if not name:
            raise ValueError(cannot_compute(text))
        return [Place(name, where)]
    found = maps[name]
    if name in inside:
        raise ValueError(f"${name} is made of itself")
    values = {entry.name: entry.args for entry in found.block or () if entry.name not in _OPTIONS}
    default, empty = values.pop("default", ("",)), values.pop("", ("",))
    source = found.args[0]
    if values or len(default) != 1 or len(empty) != 1 or variable_in(default[0]) != variable_in(source):
        raise ValueError(
            f"the map of ${name} ({found}) computes a value: only the first of several variables that is not empty "
            'can be converted, such as map $arg_a $user { default $arg_a; "" $cookie_b; }'
        )
    tried = places(source, maps, found, (*inside, name))
    return tried + places(empty[0], maps, found, (*inside, name)) if "$" in empty[0] else tried
