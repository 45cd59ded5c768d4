"""A pool at run time: which backend a token goes to, and why."""

from collections import Counter
from collections.abc import Iterator
from itertools import count

from balancer.config import model
from balancer.pool.backend import Backend
from balancer.ring.base import Ring
from balancer.ring.build import build


class Decision:
    """One candidate for a token: the backend, the rule that chose it, and who was passed over for what reason."""

    __slots__ = ("backend", "reason", "skipped")

    def __init__(self, backend: Backend, reason: str, skipped: tuple[tuple[str, str], ...]) -> None:
        self.backend = backend
        self.reason = reason
        """``owner``, ``successor``, ``spread`` or ``panic``."""
        self.skipped = skipped


class Pool:
    """Backends, the ring over them, and the rule that reads tokens."""

    def __init__(self, config: model.Pool) -> None:
        self.name = config.name
        self.config = config
        self.backends = {backend.name: Backend(backend) for backend in config.backend}
        self.ring: Ring = build(config)
        self.decisions: Counter[str] = Counter()
        """Requests and connections placed, by reason."""
        self._turns = count()

    def candidates(self, token: bytes | None, now: float) -> Iterator[Decision]:
        """Backends for the token, best first, each once; without a token (``None``) they take turns.

        The owner, then its successors on the ring, those that should not be tried now left out; when all others have
        been tried, those too (``panic``): a backend that failed a moment ago is better than none.
        """
        skipped: list[tuple[str, str]] = []
        passed_over: list[Backend] = []
        reason = "spread" if token is None else "owner"
        for name in self._rotation() if token is None else self.ring.order(token):
            backend = self.backends[name]
            why = backend.unavailable(now)
            if why:
                passed_over.append(backend)
            else:
                yield Decision(backend, reason, tuple(skipped))
                why = "tried"
            skipped.append((name, why))
            if token is not None:
                reason = "successor"
        for backend in passed_over:
            yield Decision(backend, "panic", tuple(skipped))

    def _rotation(self) -> Iterator[str]:
        members = self.ring.members
        first = next(self._turns) % len(members)
        yield from members[first:]
        yield from members[:first]
