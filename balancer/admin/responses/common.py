"""Parts that all answers share."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

from pydantic import ConfigDict, with_config

T = TypeVar("T")


@dataclass_transform()
def answer(kind: type[T]) -> type[T]:
    """Declare ``kind`` as the type of an answer. No value is made of it; its docstrings become OpenAPI descriptions."""
    return with_config(ConfigDict(use_attribute_docstrings=True))(dataclass(init=False, repr=False, eq=False)(kind))


@answer
class Error:
    """Why the request was refused."""

    error: str
    """What was wrong, and what to do. Contains no token."""
