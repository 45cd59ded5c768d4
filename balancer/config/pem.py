"""A certificate chain and its key as bytes. Serving them needs no library that parses certificates."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pem:
    """A certificate chain and its key as they were read; the files may have changed since."""

    cert: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    """DNS names and IP addresses of the leaf, in lower case."""
