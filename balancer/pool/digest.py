"""Keyed digest of tokens: tells users apart in logs and files without naming them or being guessable."""

from hashlib import blake2b


class Digest:
    """A token, or a prefix of tokens, as 16 hex digits. ``key`` is secret, 64 bytes at most, the same at each start."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, token: bytes) -> str:
        return blake2b(token, digest_size=8, key=self._key).hexdigest()
