"""A certificate as it was read from its files, for whoever serves it: no reader of certificates is needed for that."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pem:
    """A certificate chain and its key as read from their files, which may change meanwhile."""

    cert: bytes
    key: bytes = field(repr=False)
    names: tuple[str, ...]
    """DNS names and IP addresses of the leaf, in lower case."""
