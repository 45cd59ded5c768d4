"""The interface of all rings: an immutable map from tokens to backends in order of preference."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass


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
    def succession(self) -> dict[tuple[str, str], float]:
        """Return the exact share of all tokens by (owner, first successor); a single member is its own successor."""

    def prepare(self, lost: Collection[str]) -> None:  # noqa: B027  # most have nothing to prepare
        """Work out now what ``order`` will need when these members are lost, if that takes long; for a thread."""

    def shares(self) -> dict[str, float]:
        """Return the share of all tokens that each member owns; the sum is 1."""
        shares = dict.fromkeys(self.members, 0.0)
        for (owner, _), share in self.succession().items():
            shares[owner] += share
        return shares

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.members)} backends, {self.fingerprint}>"


def digest(parts: Iterable[bytes]) -> str:
    """Return a fingerprint of 16 hex digits over the parts and their lengths."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()[:16]
