"""What a check has to say about one key, before it has a file and a line."""

from dataclasses import dataclass

Key = tuple[str | int, ...]
"""The way to a value: table names and array indices, such as ``("pool", 0, "backend", 2, "weight")``."""


@dataclass(frozen=True)
class Finding:
    """``reads`` names the other keys the statement rests on: where one of those is wrong itself, this is hearsay.

    ``twin`` is the earlier of two things that must differ; the reader is told its line. A ``warning`` is legal but
    suspicious.
    """

    key: Key
    message: str
    reads: tuple[Key, ...] = ()
    twin: Key | None = None
    warning: bool = False

    def rests_on(self, broken: Key) -> bool:
        """Is a key that this finding is about, or rests on, ``broken``, or part of it, or does it hold it?"""
        keys = (self.key, *self.reads) if self.twin is None else (self.key, *self.reads, self.twin)
        return any(key[: len(broken)] == broken[: len(key)] for key in keys)
