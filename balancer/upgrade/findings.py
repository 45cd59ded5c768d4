"""What the rehearsal of a version finds."""

import msgspec


class Findings(msgspec.Struct):
    """``problems`` forbid the upgrade, ``notes`` are for operators."""

    version: str
    python: str
    problems: list[str] = []
    notes: list[str] = []
