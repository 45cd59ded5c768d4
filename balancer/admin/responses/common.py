"""What all answers have in common."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

from pydantic import ConfigDict, with_config

T = TypeVar("T")


@dataclass_transform()
def answer(kind: type[T]) -> type[T]:
    """A type of which no value is ever made; the texts below its fields are part of the description."""
    return with_config(ConfigDict(use_attribute_docstrings=True))(dataclass(init=False, repr=False, eq=False)(kind))


@answer
class Error:
    """Why nothing was done."""

    error: str
    """What was wrong, and what to do; never with a token in it."""
