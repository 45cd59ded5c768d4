"""Entries of the journal: what changed in a pool, when, and by whom. Pure."""

from balancer.config.pool import BackendConfig, RingConfig
from balancer.config.section import Name, Section
from balancer.overlay.overlay import Change

FORMAT = 1
"""Of the lines we write, and the newest that we understand."""


class RingRecord(Section):
    """What the configuration says about a pool's ring: kept in the journal so that one can look back."""

    ring: RingConfig
    backends: tuple[BackendConfig, ...]


class Entry(Section):
    """One line of the journal."""

    format: int | None = None
    """That of the version that wrote it; absent for the first."""
    min: int | None = None
    """The oldest format that understands it, if that is not the first: others may ignore fields they do not know."""
    seq: int
    time: float
    """Unix time in seconds."""
    who: str
    pool: Name
    changes: tuple[Change, ...] = ()
    """What an operator, or the passing of time, has changed."""
    config: RingRecord | None = None
    """What a start or a reload has changed."""
    before: str | None = None
    """Fingerprint of the ring before; null before the first."""
    after: str


def configured_weights(config: RingRecord) -> dict[str, float]:
    """Weights by name, as the configuration has them."""
    return {backend.name: backend.weight for backend in config.backends}
