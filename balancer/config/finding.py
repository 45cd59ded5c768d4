"""A problem or warning about a key, before its file and line are known."""

from dataclasses import dataclass

Key = tuple[str | int, ...]
"""The path to a value: table names and array indices, such as ``("pool", 0, "backend", 2, "weight")``."""


@dataclass(frozen=True)
class Finding:
    """A problem, or a ``warning``: legal but suspicious.

    ``reads`` are the other keys that the check looked at: if one of those is invalid, the finding means nothing.
    ``twin`` is the earlier of two values that must differ; its line is added to the message.
    """

    key: Key
    message: str
    reads: tuple[Key, ...] = ()
    twin: Key | None = None
    warning: bool = False

    def depends_on(self, broken: Key) -> bool:
        """Return whether ``broken`` is, contains or is contained in a key that this finding is about or reads."""
        keys = (self.key, *self.reads) if self.twin is None else (self.key, *self.reads, self.twin)
        return any(key[: len(broken)] == broken[: len(key)] for key in keys)
