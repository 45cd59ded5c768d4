"""Keyed digest of tokens: tells users apart in logs and files without naming them, and cannot be guessed."""

from hashlib import blake2b


class Digest:
    """Returns 16 hex digits for a token or a prefix of tokens. ``key`` is secret, up to 64 bytes, and never changes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, token: bytes) -> str:
        return blake2b(token, digest_size=8, key=self._key).hexdigest()
