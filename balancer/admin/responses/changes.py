"""Answers to changes, and digests of tokens."""

from typing import Any

from balancer.admin.responses.common import answer
from balancer.admin.responses.pools import BackendView
from balancer.overlay.overlay import Pin
from balancer.overlay.states import State


@answer
class Made:
    """A change, as in the journal."""

    pool: str
    seq: int
    """Number of the journal entry."""
    who: str
    before: str
    """Fingerprint of the ring before the change."""
    after: str
    version: str
    """Version of the pool, for ``If-Match``."""


@answer
class BackendChanged(Made):
    """A changed backend."""

    backend: BackendView


@answer
class CutUserView:
    """A user with tunnels on the drained backend."""

    digest: str
    tunnels: int


@answer
class StatePreviewView:
    """Who would be cut off by a state; nothing was changed."""

    dry_run: bool
    pool: str
    backend: str
    state: State
    cut_at: float | None
    """Unix time at which the tunnels that are left are closed; null for never."""
    users: list[CutUserView]
    without_token: int
    """Tunnels without a token."""


@answer
class Pinned(Made):
    """A new pin."""

    digest: str
    prefix: int | None
    """Length of the pinned prefix in bytes; null for a whole token."""
    until: float | None
    """Expiry, Unix time; null if it does not expire."""


@answer
class Unpinned(Made):
    """A pin that was removed."""

    digest: str
    prefix: int | None


@answer
class DigestView:
    """The digest of a token."""

    digest: str
    prefix: int | None
    """Length of the digested prefix in bytes; null for a whole token."""


@answer
class Pins:
    """The pins of a pool."""

    pool: str
    pins: list[Pin]


@answer
class JournalView:
    """The newest entries of a pool's journal, oldest first."""

    pool: str
    kept: bool
    """Whether the journal is kept in a state directory."""
    count: int
    entries: list[dict[str, Any]]


@answer
class Trace:
    """A request header that makes the balancer explain its decision to the client."""

    header: str
    value: str
    until: int
    """Unix time."""
