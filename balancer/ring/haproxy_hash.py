"""haproxy's hash functions, bit for bit: arithmetic modulo 2**32 over the raw bytes of the token.

Sources: haproxy's ``reg-tests/sample_fetches/hashes.vtc`` for values; for the functions sdbm and djb2
(http://www.cse.yorku.ca/~oz/hash.html), CRC-32, Bob Jenkins' integer mix, and XXH32
(https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).

Facts. sdbm and djb2 are polynomials, h = start * base**n + sum of byte * base**(bytes after it). A Python loop takes
0.1 us per byte; a table of products, one row for each distance from the end, takes a third of that. The products are
floats, which ``sum`` adds fastest and, below 2**53, exactly. There are rows for 64 bytes, the length of a SHA-256 in
hex; longer tokens are hashed in several rounds. wt6 is not a polynomial and stays a loop.
"""

import re
import zlib
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from operator import getitem

from balancer.ring.hashes import TokenHash

_MASK = 0xFFFFFFFF
_ROWS = 64
_NUMBER = re.compile(rb"([+-]?)([0-9]+)")


def full_hash(a: int) -> int:
    """Compute haproxy's avalanche, a bijection on 32 bits, which also makes the points of a ring."""
    a = (a * 4097 + 0x7ED55D16) & _MASK
    a = a ^ 0xC761C23C ^ (a >> 19)
    a = a * 33 + 0x165667B1
    a = (a + 0xD3A2646C) ^ (a << 9)
    a = (a * 9 + 0xFD7046C5) & _MASK
    a = a ^ 0xB55A4F09 ^ (a >> 16)
    return (a * 3221225473) & _MASK


def _polynomial(name: str, base: int, start: int) -> Callable[[bytes], int]:
    powers = [pow(base, distance, 1 << 32) for distance in range(_ROWS + 1)]
    rows = [tuple(float(byte * power & _MASK) for byte in range(256)) for power in powers[:_ROWS]]

    def function(data: bytes) -> int:
        value = start
        while len(data) > _ROWS:
            value = (value * powers[_ROWS] + int(sum(map(getitem, rows, data[_ROWS - 1 :: -1])))) & _MASK
            data = data[_ROWS:]
        return (value * powers[len(data)] + int(sum(map(getitem, rows, data[::-1])))) & _MASK

    function.__qualname__ = name  # pickle finds functions by name: rings are built in another process and sent here
    return function


sdbm = _polynomial("sdbm", 65599, 0)
djb2 = _polynomial("djb2", 33, 5381)


def wt6(data: bytes) -> int:
    """Compute haproxy's wt6: two registers are mixed with rotations that depend on them."""
    h0, h1, r0, r1 = 0xA53C965A, 0x5CA6953A, 6, 18
    for byte in data:
        h0 = h0 ^ byte ^ _MASK
        h1 = ~(h1 + byte) & _MASK
        h0, h1 = (h1 << r0 | h1 >> (32 - r0)) & _MASK, (h0 << r1 | h0 >> (32 - r1)) & _MASK
        mixed = (h0 >> 16 ^ h1) & 0xFFFF
        r0, r1 = mixed & 31, mixed >> 11
    return h0 ^ h1


def number(data: bytes) -> int:
    """Compute ``none``: the low 32 bits of the decimal number the token starts with, saturated to 64 bits."""
    match = _NUMBER.match(data)
    if match is None:
        return 0
    # Any twenty digits exceed 64 bits; reading thousands would take long.
    digits = match[2].lstrip(b"0")[:20]
    value = int(match[1] + (digits or b"0"))
    return max(-(1 << 63), min((1 << 63) - 1, value)) & _MASK


def source(address: bytes) -> int:
    """Compute ``balance source``: the XOR of the 32-bit words of an IP address in network byte order.

    Anything else, such as a server name (SNI), is hashed with sdbm.
    """
    try:
        packed = ip_address(address.decode()).packed
    except ValueError:
        return sdbm(address)
    value = 0
    for at in range(0, len(packed), 4):
        value ^= int.from_bytes(packed[at : at + 4], "big")
    return value


def xxh32(data: bytes, seed: int) -> int:
    """Compute XXH32, which haproxy uses for the points of IPv6 addresses and GUIDs."""
    p1, p2, p3, p4, p5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1

    def rotate(value: int, bits: int) -> int:
        value &= _MASK
        return (value << bits | value >> (32 - bits)) & _MASK

    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) - 3, 4)]
    whole = len(data) // 16 * 4
    if whole:
        lanes = [seed + p1 + p2, seed + p2, seed, seed - p1]
        for at, word in enumerate(words[:whole]):
            lanes[at % 4] = rotate(lanes[at % 4] + word * p2, 13) * p1
        value = sum(map(rotate, lanes, (1, 7, 12, 18)))
    else:
        value = seed + p5
    value += len(data)
    for word in words[whole:]:
        value = rotate(value + word * p3, 17) * p4
    for byte in data[len(data) // 4 * 4 :]:
        value = rotate(value + byte * p5, 11) * p1
    value &= _MASK
    value = (value ^ value >> 15) * p2 & _MASK
    value = (value ^ value >> 13) * p3 & _MASK
    return value ^ value >> 16


_FUNCTIONS: dict[str, Callable[[bytes], int]] = {
    "sdbm": sdbm,
    "djb2": djb2,
    "wt6": wt6,
    "crc32": zlib.crc32,
    "none": number,
    "source": source,
}


def token_hash(function: str, avalanche: bool) -> TokenHash:
    """Return haproxy's hash of tokens: ``function`` by haproxy's name or ``source``, optionally with ``avalanche``."""
    plain = _FUNCTIONS[function]
    if not avalanche:
        return TokenHash(function, 32, plain)
    return TokenHash(f"{function} avalanche", 32, partial(_avalanched, plain))


def _avalanched(plain: Callable[[bytes], int], token: bytes) -> int:
    return full_hash(plain(token))
