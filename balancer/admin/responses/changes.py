"""What operators have changed, and what they know tokens by."""

from typing import Any

from balancer.admin.responses.common import answer
from balancer.admin.responses.pools import BackendView
from balancer.overlay.overlay import Pin
from balancer.overlay.states import State


@answer
class Made:
    """A change, as the journal has it."""

    pool: str
    seq: int
    """Number of the entry in the journal."""
    who: str
    before: str
    """Fingerprint of the ring."""
    after: str
    version: str
    """Of the pool, for ``If-Match``."""


@answer
class BackendChanged(Made):
    """A change of a backend, and how it is now."""

    backend: BackendView


@answer
class CutUserView:
    """A user with tunnels on a backend that is to be left."""

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
    """A pin that was made."""

    digest: str
    prefix: int | None
    """Length in bytes of the beginning that is pinned; null for a whole token."""
    until: float | None
    """Unix time; null if it does not end by itself."""


@answer
class Unpinned(Made):
    """A pin that was taken away."""

    digest: str
    prefix: int | None


@answer
class DigestView:
    """What a token is known by."""

    digest: str
    prefix: int | None
    """Length in bytes of the beginning that was digested; null for a whole token."""


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
    """Is there a state directory?"""
    count: int
    entries: list[dict[str, Any]]


@answer
class Trace:
    """A request header with which a client is told why it is placed where it is."""

    header: str
    value: str
    until: int
    """Unix time."""
