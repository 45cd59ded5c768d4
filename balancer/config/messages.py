"""Messages for operators from pydantic's errors: with the nearest known key, never with a secret value."""

from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from balancer.config.finding import Finding
from balancer.config.model import Config
from balancer.config.scalars import shown
from balancer.config.section import Section

_TABLES_NAMED = 3
"""Tables to name for a key that stands in another one."""
_EXPECTED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "string_type": "a string",
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}
_NEEDS = {
    ("listener",): "the file needs at least one [[listener]]",
    ("listener", "name"): 'a listener needs a name, such as name = "ide"',
    ("listener", "bind"): 'a listener needs addresses, such as bind = ["0.0.0.0:8443"]',
    ("listener", "route", "pool"): "a route needs the name of the pool it leads to",
    ("listener", "tls", "certificates"): 'tls needs certificates = [{ cert = "ide.crt", key = "ide.key" }]',
    ("listener", "tls", "certificates", "cert"): "a certificate needs cert, the path of its chain (PEM)",
    ("listener", "tls", "certificates", "key"): "a certificate needs key, the path of its private key (PEM)",
    ("pool",): "the file needs at least one [[pool]]",
    ("pool", "token", "fallback", "source"): 'a place needs a source: "query", "header", "cookie" or "referer"',
    ("pool", "health", "expect_status"): 'name at least one status, such as "2xx"',
    ("pool", "name"): 'a pool needs a name, such as name = "ide"',
    ("pool", "backend"): "a pool needs at least one [[pool.backend]]",
    ("pool", "backend", "name"): 'a backend needs a name, such as name = "ide-01"',
    ("pool", "backend", "address"): 'a backend needs an address, such as address = "10.0.0.1:4001"',
}
_FORMS = {
    "name": "1 to 64 letters, digits, dots, dashes and underscores, starting with a letter or digit",
    "pool": "the name of a pool: 1 to 64 letters, digits, dots, dashes and underscores",
    "param": "1 to 64 letters, digits, dots, dashes, underscores and tildes",
    "query": "the name of a parameter: 1 to 64 letters, digits, dots, dashes, underscores and tildes",
    "method": 'a method, such as "POST"',
    "header": 'the name of a header field, such as "X-User"',
    "set": "at most 4096 printable ASCII characters",
    "add": "at most 4096 printable ASCII characters",
    "remove": 'the name of a header field, such as "X-User"',
    "cookie": 'the name of a cookie, such as "session"',
    "prefix": "up to 64 printable ASCII characters",
    "remember": 'the name of a cookie, such as "ide_user", or "off"',
    "redirect": '"https" or "https://host:port"',
    "location": "1 to 2048 printable ASCII characters without spaces",
    "type": 'a media type, such as "text/html"',
    "server_name": "a host name or an IP address",
    "host": "a host name or an IP address, with or without a port",
    "path": 'a path that starts with "/" and has no spaces',
}
_BY_FIELD = ("set", "add")
"""Tables from names of header fields to their values."""
_SECRET = {"seed"}
_OF_A_KEY = "[key]"
"""What pydantic appends to the place of an error that is about a key of a table, not about its value."""


def findings(error: ValidationError) -> list[Finding]:
    """Return a finding for each of pydantic's errors, except those that only follow from others."""
    return [
        Finding(each["loc"][:-1] if each["loc"][-1] == _OF_A_KEY else each["loc"], _message(each))
        for each in error.errors(include_url=False)
        # pydantic also calls an array too short if all of its elements are invalid.
        if not (each["type"] == "too_short" and each["input"])
    ]


def _message(error: ErrorDetails) -> str:
    key, kind, context = error["loc"], error["type"], error.get("ctx", {})
    names = tuple(part for part in key if isinstance(part, str))
    given = shown(error["input"])
    if kind == "missing":
        return f"missing: {_NEEDS[names]}"
    if kind == "too_short":
        return f"empty: {_NEEDS[names]}"
    if kind == "extra_forbidden":
        return _unknown(names)
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"expected {_quoted(context['expected'])}, not {given}"
    if kind == "string_pattern_mismatch":
        secret = len(names) > 1 and names[-2] in _BY_FIELD and names[-1] != _OF_A_KEY
        expected = f"expected {_form(names)}"
        return expected if secret else f"{expected}, not {given}"
    if kind in _BOUNDS:
        phrase, name = _BOUNDS[kind]
        return f"expected {phrase} {int(context[name])}, not {given}"
    if kind == "tuple_type":
        return f"expected an array, such as {_array(names, error['input'])}, not {given}"
    if kind == "model_type":
        return f"expected a table, not {given}"
    expected = f"expected {_EXPECTED.get(kind, 'another value')}"
    return expected if names[-1] in _SECRET else f"{expected}, not {given}"


def _form(names: tuple[str, ...]) -> str:
    """Return what is expected of a string; the keys of tables without a model are names of header fields."""
    if names[-1] == _OF_A_KEY:
        return _FORMS["header"]
    return _FORMS[names[-2] if names[-2] in _BY_FIELD else names[-1]]


def _quoted(choices: str) -> str:
    return choices.replace("'", '"')


def _array(names: tuple[str, ...], value: object) -> str:
    if isinstance(value, dict):
        return f"tables that start with [[{'.'.join(names)}]]"
    return f"[{shown(value)}]"


def _unknown(names: tuple[str, ...]) -> str:
    known = list(_section(names[:-1]).fields_by_key())
    if close := get_close_matches(names[-1], known, 1):
        return f"unknown key; did you mean {shown(close[0])}?"
    tables = [f"[{'.'.join(at)}]" for at, section in _tables(Config, ()) if at and names[-1] in section.fields_by_key()]
    if 0 < len(tables) <= _TABLES_NAMED:
        return f"unknown key here; it belongs to {' or '.join(tables)}"
    return f"unknown key; valid keys here: {', '.join(known)}"


def _tables(section: type[Section], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Yield every table that a file may have, with the keys that lead to it."""
    yield at, section
    for key, field in section.fields_by_key().items():
        with suppress(IndexError):  # no table
            yield from _tables(_inner(section.model_fields[field].annotation), (*at, key))


def _section(names: tuple[str, ...]) -> type[Section]:
    """The model of the table at ``names``, found by following the types of fields."""
    section: type[Section] = Config
    for name in names:
        section = _inner(section.model_fields[section.fields_by_key()[name]].annotation)
    return section


def _inner(annotation: object) -> type[Section]:
    while not (isinstance(annotation, type) and issubclass(annotation, Section)):
        annotation = get_args(annotation)[0]
    return annotation
