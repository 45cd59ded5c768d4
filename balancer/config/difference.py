"""The differences between two configurations, key by key: what a reload would change."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from balancer.config.model import Config
from balancer.config.scalars import shown, shown_duration

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


def as_written(model: BaseModel, digest: Callable[[str], str]) -> dict[str, object]:
    """Return a table with its values as in the file, and the ``digest`` of each secret in its place."""
    written: dict[str, object] = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            written[name] = as_written(value, digest)
        elif isinstance(value, tuple) and all(isinstance(each, BaseModel) for each in value):
            written[name] = [as_written(each, digest) for each in value]
        elif not field.repr and value:
            written[name] = _digested(value, digest)
        elif isinstance(value, float) and isinstance(written[name], str):
            written[name] = shown_duration(value)
    return written


def _digested(value: object, digest: Callable[[str], str]) -> object:
    """Return the digest of a secret; of a table or an array of secrets, that of each."""
    if isinstance(value, dict):
        return {name: _digested(each, digest) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_digested(each, digest) for each in value]
    return digest(str(value))


def _masked(model: BaseModel) -> dict[str, object]:
    """Return a table as plain values, with secrets replaced by ``MASK``."""
    return {
        name: MASK if not field.repr and getattr(model, name) else _plain(getattr(model, name))
        for name, field in type(model).model_fields.items()
    }


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
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


def _models(at: str, old: BaseModel, new: BaseModel) -> Iterator[Difference]:
    for name, field in type(new).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        key = f"{at} > {name}" if at else name
        if before == after:
            continue
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _models(key, before, after)
        elif _named(before) and _named(after):
            yield from _members(at, name, before, after)
        elif not field.repr:
            yield Difference("changes", f"{key}: changes (secret)", key)
        else:
            yield Difference("changes", f"{key}: {_written(old, name)} -> {_written(new, name)}", key)


def _written(model: BaseModel, name: str) -> str:
    """The value of a field, as one would write it in the file: durations with their unit."""
    value = getattr(model, name)
    if isinstance(value, float) and isinstance(model.model_dump(mode="json", include={name})[name], str):
        return shown_duration(value)
    return _value(value)


def _members(at: str, name: str, old: tuple[BaseModel, ...], new: tuple[BaseModel, ...]) -> Iterator[Difference]:
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
