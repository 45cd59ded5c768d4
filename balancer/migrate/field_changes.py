"""What the other balancer did to header fields, as our tables ``request_fields`` and ``response_fields``."""

from dataclasses import dataclass, field

from balancer.config.field_text import FACT, is_reserved
from balancer.config.scalars import shown
from balancer.migrate.match import NoCounterpart
from balancer.migrate.toml import TomlTable, Value

FORWARDED_FOR = "X-Forwarded-For"
_LONGEST = 4096
_NAME = frozenset("!#$%&'*+.^_`|~-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


@dataclass
class FieldChanges:
    """Changes of the fields of a message, made one after the other; names in lower case lead to them as written."""

    removed: dict[str, str] = field(default_factory=dict)
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    added: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def remove(self, name: str) -> None:
        """Leave a field out. Raise ``NoCounterpart`` for one that the daemon writes itself."""
        _checked(name, "")
        self.given.pop(name.lower(), None)
        self.added.pop(name.lower(), None)
        self.removed[name.lower()] = name

    def set(self, name: str, value: str) -> None:
        """Set a field, in place of all of that name. Raise ``NoCounterpart`` as ``remove`` does, and for its value."""
        _checked(name, value)
        self.removed.pop(name.lower(), None)
        self.added.pop(name.lower(), None)
        self.given[name.lower()] = (name, value)

    def add(self, name: str, value: str) -> None:
        """Append a field. Raise ``NoCounterpart`` as ``set`` does."""
        _checked(name, value)
        self.added.setdefault(name.lower(), (name, []))[1].append(value)

    def replaces(self, name: str) -> bool:
        """Return whether what came by this name, in lower case, is gone."""
        return name in self.removed or name in self.given

    def write(self, table: TomlTable, key: str) -> None:
        """Write the changes as ``key`` of a listener or pool, unless there are none."""
        added: dict[str, Value] = {
            name: values[0] if len(values) == 1 else values for name, values in self.added.values()
        }
        within = table.table(key)
        within.set("remove", list(self.removed.values()) or None)
        within.set("set", dict(self.given.values()) or None)
        within.set("add", added or None)


def literal(text: str) -> str:
    """Return a constant as a value. Raise ``NoCounterpart`` if it would be read as a fact."""
    if FACT.search(text):
        raise NoCounterpart("its value would be read as a fact")
    return text


def _checked(name: str, value: str) -> None:
    if name.lower() == "host":
        raise NoCounterpart("backends get the client's Host")
    if is_reserved(name):
        raise NoCounterpart(f"{name} is written by the daemon itself")
    if not name or not set(name) <= _NAME or len(name) > 64:
        raise NoCounterpart(f"{shown(name)} is not the name of a field")
    if len(value) > _LONGEST or not all(" " <= each <= "~" for each in value):
        raise NoCounterpart("its value is too long, or has other than printable ASCII characters")
