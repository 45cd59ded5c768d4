"""Seal a token in a cookie, so that only the daemon can read it, and no one can forge or move it.

Facts. A seal is AES-256-GCM: a value that was changed, cut, or made with another key does not open. The pool and the
name of the cookie are authenticated along with it, so a cookie of one pool is nothing to another. Nonces are random: up
to 2^32 seals of one key, two with the same nonce are less likely than 2^-32 (NIST SP 800-38D, 8.3). The token's length
can be told from that of the cookie.

A sealed value is, in base64url without padding: version (1 byte), nonce (12), encrypted time of issue (8) and token,
tag (16).
"""

import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from balancer.config.cookie import MAX_COOKIE, SEALED

MAX_AGE = 30 * 86400
"""Seconds for which a seal is believed."""
RENEW_AGE = 15 * 86400
"""Seconds after which it is replaced, so that those in use never become too old."""
MAX_AHEAD = 86400
"""Seconds by which the clock of the balancer that sealed may be ahead of ours."""

_VERSION = b"\1"
_TIME = struct.Struct(">Q")
_OPENED_KEPT = 1024
"""Size of the cache of opened values: a page sends the same cookie with each of its requests."""


class Seals:
    """Seals tokens with the first of ``keys``, and opens what any of them has sealed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]
        self._opened = lru_cache(_OPENED_KEPT)(self._open)

    def seal(self, pool: str, cookie: bytes, token: bytes, now: float) -> bytes:
        """Return the value of ``cookie`` that holds ``token``; ``now`` is Unix time."""
        nonce = os.urandom(12)
        sealed = self._ciphers[0].encrypt(nonce, _TIME.pack(int(now)) + token, _bound_to(pool, cookie))
        return urlsafe_b64encode(_VERSION + nonce + sealed).rstrip(b"=")

    def open(self, pool: str, cookie: bytes, value: bytes, now: float) -> tuple[bytes, bool] | None:
        """Return the token and whether it should be sealed anew; None for what is not ours, or too old."""
        opened = self._opened(pool, cookie, value) if len(value) <= MAX_COOKIE else None
        if opened is None:
            return None
        issued, token, former = opened
        age = now - issued
        if not -MAX_AHEAD <= age <= MAX_AGE:
            return None
        return token, former or age > RENEW_AGE

    def _open(self, pool: str, cookie: bytes, value: bytes) -> tuple[int, bytes, bool] | None:
        """The time of issue, the token, and whether a former key has sealed it."""
        try:
            data = urlsafe_b64decode(value + b"=" * (-len(value) % 4))
        except ValueError:
            return None
        # One spelling only: base64 decoders skip what they do not know, and the last character has unused bits.
        if urlsafe_b64encode(data).rstrip(b"=") != value or data[:1] != _VERSION or len(data) <= SEALED:
            return None
        for number, cipher in enumerate(self._ciphers):
            try:
                plain = cipher.decrypt(data[1:13], data[13:], _bound_to(pool, cookie))
            except InvalidTag:
                continue
            return _TIME.unpack_from(plain)[0], plain[_TIME.size :], number > 0
        return None


def _bound_to(pool: str, cookie: bytes) -> bytes:
    return b"balancer remembers\0" + pool.encode() + b"\0" + cookie
