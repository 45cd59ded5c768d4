"""What every table of the configuration is made of: its base class and the types of names and counts."""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T")
Array = Annotated[tuple[T, ...], Field(strict=False)]
"""A TOML array; strict mode would not convert the parser's list to a tuple."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
HttpToken = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")]
ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
Param = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]
Duplicates = Literal["refuse", "first", "last"]

MAX_CONNECTIONS = 1_000_000
Count = Annotated[int, Field(ge=0, le=MAX_CONNECTIONS)]


class Section(BaseModel):
    """A table of the file: frozen, without unknown keys, without implicit type conversions.

    Validators are built on first use: the command line mostly needs only that of ``AdminConfig``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True, serialize_by_alias=True)

    @classmethod
    def fields_by_key(cls) -> dict[str, str]:
        """Return the names of the fields by their keys in the file; a key may be a word of Python, such as "not"."""
        return {field.alias or name: name for name, field in cls.model_fields.items()}
