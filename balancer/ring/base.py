"""The interface of all rings: an immutable map from tokens to backends in order of preference."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum

from balancer.ring.hashes import TokenHash


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Ring(ABC):
    """An immutable placement of tokens on backends; a change of placement makes a new ring.

    A ring does not know about health: callers walk ``order`` and skip the backends they cannot use, so that a backend
    that returns gets its own users back.
    """

    members: tuple[str, ...]
    """Names of the backends on the ring, those with a weight above zero."""
    weights: Mapping[str, float]
    """Weight of each member."""
    fingerprint: str
    """Digest of everything that determines placement: rings with equal fingerprints place every token alike."""
    hash: TokenHash
    """What tokens are placed by; of two rings at once, of the later one."""

    @abstractmethod
    def position(self, token: bytes) -> int:
        """Return the token's position on the ring: its hash."""

    @abstractmethod
    def point(self, token: bytes) -> int:
        """Return what the position belongs to: the end of the owner's arc, the nearest point, a slot or a draw."""

    @abstractmethod
    def owner(self, token: bytes) -> str:
        """Return the first of ``order``, but faster."""

    @abstractmethod
    def order(self, token: bytes) -> Iterator[str]:
        """Yield every member once in order of preference: the owner, then its successors."""

    @abstractmethod
    def point_counts(self) -> dict[str, int]:
        """Return the number of points or slots of each member; empty for a ring that has none."""

    @abstractmethod
    def succession(self) -> dict[str, dict[str, float]]:
        """Return for each member what share of all tokens it owns, by first successor: exactly, but see ``Mapped``.

        A single member is its own successor.
        """

    def prepare(self, lost: Collection[str]) -> None:  # noqa: B027  # most have nothing to prepare
        """Work out now what ``order`` will need when these members are lost, if that takes long; for a thread."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.members)} backends, {self.fingerprint}>"


def in_proportion(lost: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Return the successors of a member whose tokens go to the others in proportion to their weights."""
    if len(weights) == 1:
        return {lost: 1.0}
    own, others = weights[lost], fsum([*weights.values(), -weights[lost]])
    unit = own / (own + others) / others
    parts = {name: weight * unit for name, weight in weights.items()}
    del parts[lost]
    return parts


def digest(parts: Iterable[bytes]) -> str:
    """Return a fingerprint of 16 hex digits over the parts and their lengths."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()[:16]
