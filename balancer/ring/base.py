"""What every ring is: an immutable map from tokens to backends, best first."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Ring(ABC):
    """A placement of tokens on backends that never changes; another placement is another ring.

    Health is no business of a ring: callers walk ``order`` and skip the backends they cannot use, so that a backend
    coming back finds its own users again.
    """

    members: tuple[str, ...]
    """Names of the backends on the ring, those with a weight above zero."""
    weights: Mapping[str, float]
    """Weight of each member."""
    fingerprint: str
    """Digest of everything that decides a placement: two rings with one fingerprint place every token alike."""

    @abstractmethod
    def position(self, token: bytes) -> int:
        """Where the token falls: its hash, or its slot in a table."""

    @abstractmethod
    def point(self, token: bytes) -> int:
        """What the position leads to: the end of the owner's arc, its nearest point, its slot or its draw."""

    @abstractmethod
    def owner(self, token: bytes) -> str:
        """The first of ``order``, faster."""

    @abstractmethod
    def order(self, token: bytes) -> Iterator[str]:
        """Every member once, best first: the owner, then its successors."""

    @abstractmethod
    def point_counts(self) -> dict[str, int]:
        """How many points or slots each member has; empty for a ring without any."""

    @abstractmethod
    def succession(self) -> dict[tuple[str, str], float]:
        """Share of all tokens by (owner, first successor), exact; without any other member both are the owner."""

    def shares(self) -> dict[str, float]:
        """Share of all tokens that each member owns, in sum 1."""
        shares = dict.fromkeys(self.members, 0.0)
        for (owner, _), share in self.succession().items():
            shares[owner] += share
        return shares

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.members)} backends, {self.fingerprint}>"


def digest(parts: Iterable[bytes]) -> str:
    """A fingerprint: 16 hex digits over the parts and where each ends."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()[:16]
