"""Two rings at once: move a pool from one ring to another, a share of its users at a time.

Facts. Another algorithm, hash or seed gives nearly every user another owner. To spread that over days, each user gets a
constant draw between 0 and 1, independent of both rings; users whose draw is below the share are placed by the new
ring, the others by the old one. A larger share moves further users and no others, a smaller one returns those that
moved last. So no user moves more than once on the way, and nothing needs to be recorded about users.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from balancer.ring.base import Ring, digest

_DRAWS = 1 << 64


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Rehoming(Ring):
    """Places ``share`` of the users by ``after`` and the others by ``before``."""

    before: Ring
    after: Ring
    share: float

    def chosen(self, token: bytes) -> Ring:
        """Return the ring that places this token."""
        return self.after if draw(token) < self.share * _DRAWS else self.before

    def position(self, token: bytes) -> int:
        return self.chosen(token).position(token)

    def point(self, token: bytes) -> int:
        return self.chosen(token).point(token)

    def owner(self, token: bytes) -> str:
        return self.chosen(token).owner(token)

    def order(self, token: bytes) -> Iterator[str]:
        return self.chosen(token).order(token)

    def prepare(self, lost: Collection[str]) -> None:
        for ring in (self.before, self.after):
            ring.prepare(lost)

    def point_counts(self) -> dict[str, int]:
        return self.after.point_counts()

    def succession(self) -> dict[str, dict[str, float]]:
        mixed: dict[str, dict[str, float]] = {name: defaultdict(float) for name in self.members}
        for ring, share in ((self.before, 1 - self.share), (self.after, self.share)):
            for owner, parts in ring.succession().items():
                for successor, part in parts.items():
                    mixed[owner][successor] += share * part
        return mixed


def rehoming(before: Ring, after: Ring, share: float) -> Rehoming:
    """Combine two rings of the same backends; ``share``, between 0 and 1, is that of ``after``."""
    parts = [b"rehoming", before.fingerprint.encode(), after.fingerprint.encode(), share.hex().encode()]
    return Rehoming(
        members=after.members,
        weights=after.weights,
        fingerprint=digest(parts),
        hash=after.hash,
        before=before,
        after=after,
        share=share,
    )


def draw(token: bytes) -> int:
    """Return a token's draw, below 2**64, which never changes."""
    return int.from_bytes(blake2b(token, digest_size=8, person=b"balancer rehome").digest(), "big")
