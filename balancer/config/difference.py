"""The differences between two configurations, key by key: what a reload would change."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from balancer.config.model import Config
from balancer.config.scalars import shown
from balancer.config.section import Section

MASK = "***"
"""Shown in place of a secret, which is a field with ``repr=False``."""


@dataclass(frozen=True)
class Difference:
    """One difference, as text for operators."""

    kind: Literal["opens", "closes", "changes"]
    """``opens`` and ``closes`` are about listening sockets."""
    text: str
    key: str
    """Such as ``pool "ide" > ring > points``."""


def differences(old: Config, new: Config) -> list[Difference]:
    """Return every difference: listening sockets first, then keys in the order of the model."""
    return [*_sockets(old, new), *_models("", old, new)]


def as_written(table: Section, digest: Callable[[str], str], *, defaults: bool = True) -> dict[str, object]:
    """Return a table with its values as in the file, and the ``digest`` of each secret in its place.

    Without ``defaults``, keys that have their default are left out.
    """
    written: dict[str, object] = table.model_dump(mode="json", exclude_defaults=not defaults)
    for key, name in table.fields_by_key().items():
        value = getattr(table, name)
        if key not in written:
            continue
        if isinstance(value, Section):
            written[key] = as_written(value, digest, defaults=defaults)
        elif isinstance(value, tuple) and all(isinstance(each, Section) for each in value):
            written[key] = [as_written(each, digest, defaults=defaults) for each in value]
        elif not type(table).model_fields[name].repr and value:
            written[key] = _digested(value, digest)
    return written


def _digested(value: object, digest: Callable[[str], str]) -> object:
    """Return the digest of a secret; of a table or an array of secrets, that of each."""
    if isinstance(value, dict):
        return {name: _digested(each, digest) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_digested(each, digest) for each in value]
    return digest(str(value))


def _masked(model: Section) -> dict[str, object]:
    """Return a table as plain values, with secrets replaced by ``MASK``."""
    return {
        name: MASK if not field.repr and getattr(model, name) else _plain(getattr(model, name))
        for name, field in type(model).model_fields.items()
    }


def _plain(value: object) -> object:
    if isinstance(value, Section):
        return _masked(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _sockets(old: Config, new: Config) -> Iterator[Difference]:
    before = {str(address): listener.name for listener in old.listener for address in listener.bind}
    after = {str(address): listener.name for listener in new.listener for address in listener.bind}
    for address in [address for address in after if address not in before]:
        yield Difference("opens", f'listener "{after[address]}" opens {address}', f'listener "{after[address]}" > bind')
    for address in [address for address in before if address not in after]:
        text = f'listener "{before[address]}" closes {address}; open connections are kept'
        yield Difference("closes", text, f'listener "{before[address]}" > bind')


def _models(at: str, old: Section, new: Section) -> Iterator[Difference]:
    for name, field in type(new).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        key = f"{at} > {name}" if at else name
        if before == after:
            continue
        if isinstance(before, Section) and isinstance(after, Section):
            yield from _models(key, before, after)
        elif _named(before) and _named(after):
            yield from _members(at, name, before, after)
        elif not field.repr:
            yield Difference("changes", f"{key}: changes (secret)", key)
        else:
            yield Difference("changes", f"{key}: {_written(old, name)} -> {_written(new, name)}", key)


def _written(model: Section, name: str) -> str:
    """The value of a field, as one would write it in the file: durations with their unit."""
    value = getattr(model, name)
    if isinstance(value, float) and isinstance(text := model.model_dump(mode="json", include={name})[name], str):
        return text
    return _value(value)


def _members(at: str, name: str, old: tuple[Section, ...], new: tuple[Section, ...]) -> Iterator[Difference]:
    """Compare arrays of named tables: removed, added, changed and reordered members."""
    before, after = ({getattr(each, "name"): each for each in models} for models in (old, new))  # noqa: B009
    prefix = f"{at} > " if at else ""
    for member in [member for member in before if member not in after]:
        yield Difference("changes", f'{prefix}{name} "{member}": removed', f'{prefix}{name} "{member}"')
    for member, model in after.items():
        key = f'{prefix}{name} "{member}"'
        if member in before:
            yield from _models(key, before[member], model)
        else:
            yield Difference("changes", f"{key}: added", key)
    if list(before) != list(after) and before.keys() == after.keys():
        yield Difference("changes", f"{prefix}{name}: order changed", f"{prefix}{name}")


def _named(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(hasattr(each, "name") for each in value)


def _value(value: object) -> str:
    plain = _plain(value)
    if plain is None:
        return "none"
    if isinstance(plain, dict | list):
        return "other values" if len(str(plain)) > 60 else str(plain).replace("'", '"')
    return shown(plain) if isinstance(plain, str) else str(plain).lower() if isinstance(plain, bool) else f"{plain}"
