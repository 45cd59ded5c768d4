"""Keyed digest of tokens: tells users apart in logs and files without naming them, and cannot be guessed."""

from functools import lru_cache
from hashlib import blake2b

KEPT = 4096
"""Size of the cache: to compute a digest for each line of the access log is a sixth of its cost."""
MAX_KEPT_TOKEN = 2048
"""Bytes of the longest token that is kept: a full cache takes 8 MiB at most."""


class Digest:
    """Returns 16 hex digits for a token or a prefix of tokens. ``key`` is secret, up to 64 bytes, and never changes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, token: bytes) -> str:
        return blake2b(token, digest_size=8, key=self._key).hexdigest()


class CachedDigest(Digest):
    """Keeps the digests of the tokens seen last."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._kept = lru_cache(KEPT)(super().__call__)

    def __call__(self, token: bytes) -> str:
        return self._kept(token) if len(token) <= MAX_KEPT_TOKEN else super().__call__(token)
