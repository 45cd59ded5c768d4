"""Hash functions of tokens and points, each with a name for fingerprints that does not reveal its key."""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import md5


@dataclass(frozen=True)
class TokenHash:
    """A function from tokens to ``0 <= hash < 2**bits``.

    Functions of equal ``name`` are the same. The name of a keyed hash contains a digest of the key, by which a weak key
    can be guessed: a seed must be random and long.
    """

    name: str
    bits: int
    function: Callable[[bytes], int] = field(repr=False)
    key: bytes = field(default=b"", repr=False)
    """Of a keyed hash, what another process needs to make the same function."""


def _md5_64(data: bytes) -> int:
    return int.from_bytes(md5(data, usedforsecurity=False).digest()[:8], "big")


def _md5_ketama(data: bytes) -> int:
    return int.from_bytes(md5(data, usedforsecurity=False).digest()[:4], "little")


MD5 = TokenHash("md5", 64, _md5_64)
"""The top 64 bits of uhashring's default hash: they order points as all 128 do."""

KETAMA = TokenHash("md5-ketama", 32, _md5_ketama)
"""libketama's hash: the first four bytes of MD5, little-endian."""

CRC32 = TokenHash("crc32", 32, zlib.crc32)
"""The CRC-32 of zlib and Ethernet, nginx's hash."""


def blake2b(seed: str) -> TokenHash:
    """Return BLAKE2b (RFC 7693) keyed with ``seed``, without which nobody can predict a token's backend."""
    return keyed_blake2b(hashlib.blake2b(seed.encode(), digest_size=32).digest())


def keyed_blake2b(key: bytes) -> TokenHash:
    """Return the hash for a key of 32 bytes that was made from a seed."""
    name = f"blake2b-{hashlib.blake2b(key, digest_size=8).hexdigest()}"
    return TokenHash(name, 64, partial(_blake2b_64, key), key)


def _blake2b_64(key: bytes, data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "big")
