"""The tables ``request_fields`` and ``response_fields`` of listeners and pools, and the checks of them."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from balancer.config.field_text import FACT, FACTS, OURS, is_reserved
from balancer.config.finding import Finding, Key
from balancer.config.scalars import shown
from balancer.config.section import Array, HttpToken, Section

FieldValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,4096}$")]


def _as_values(value: object) -> object:
    return [value] if isinstance(value, str) else value


class FieldsConfig(Section):
    """What is done to header fields, in this order. Values may contain facts in braces: ``{client_address}``."""

    remove: Array[HttpToken] = ()
    """Fields to leave out."""
    set: dict[HttpToken, FieldValue] = Field(default_factory=dict, repr=False)
    """Fields with their value, in place of all that came by that name. Values may be credentials, so none is shown."""
    add: dict[HttpToken, Annotated[Array[FieldValue], BeforeValidator(_as_values)]] = Field(
        default_factory=dict, repr=False
    )
    """Fields to append, each with one value or several."""


def field_findings(at: Key, fields: FieldsConfig) -> Iterator[Finding]:
    """Check the names and values of fields."""
    given: list[tuple[str, str, tuple[str, ...]]] = [("remove", name, ()) for name in fields.remove]
    given += [("set", name, (value,)) for name, value in fields.set.items()]
    given += [("add", name, values) for name, values in fields.add.items()]
    for key, name, values in given:
        where = (*at, key) if key == "remove" else (*at, key, name)
        if is_reserved(name):
            yield Finding(where, f"{name} is written by the daemon itself: it frames, routes or explains the message")
        for value in values:
            yield from (Finding(where, fault) for fault in value_faults(value))
    for name in fields.set:
        if name.lower() in map(str.lower, fields.remove):
            yield Finding((*at, "remove"), f"{name} is in set, which replaces it anyway", warning=True)


def value_faults(value: str) -> Iterator[str]:
    """Yield what is wrong with the facts in a value."""
    for fact in FACT.finditer(value):
        name, field = fact.groups()
        if name not in FACTS:
            close = get_close_matches(name, FACTS, 1)
            hint = f"did you mean {{{close[0]}}}?" if close else f"facts are {', '.join(FACTS[:-1])} and header:NAME"
            yield f"{shown(fact[0])} is not a fact; {hint}"
        elif (name == "header") != (field is not None):
            yield f"{shown(fact[0])}: only header has a name, and it needs one, such as {{header:User-Agent}}"
        elif field is not None and field.lower().replace("_", "-").startswith(OURS):
            yield f"{shown(fact[0])} may be a secret of the daemon"
