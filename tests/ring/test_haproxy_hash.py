"""haproxy's hash functions against their definitions, written out byte by byte."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.ring.haproxy_hash import djb2, full_hash, number, sdbm, source, token_hash, wt6, xxh32

MASK = 2**32 - 1


@given(st.binary(max_size=300))
def test_polynomials(data):
    first, second = 0, 5381
    for byte in data:
        first = (first * 65599 + byte) & MASK
        second = (second * 33 + byte) & MASK
    assert (sdbm(data), djb2(data)) == (first, second)


@given(st.binary(max_size=100))
def test_wt6(data):
    def rol(value, bits):
        return (value << bits | value >> 32 - bits) & MASK

    h0, h1, r0, r1 = 0xA53C965A, 0x5CA6953A, 6, 18
    for byte in data:
        h0, h1 = MASK - (h0 ^ byte), MASK - ((h1 + byte) & MASK)
        h0, h1 = rol(h1, r0), rol(h0, r1)
        mixed = ((h0 >> 16) ^ h1) & 0xFFFF
        r0, r1 = mixed % 32, mixed // 2048
    assert wt6(data) == h0 ^ h1


@pytest.mark.parametrize(("value", "hashed"), [(0, 0xAB4ED927), (1, 0x348681B6), (2, 0xE267B84C), (MASK, 0x7E64C182)])
def test_avalanche(value, hashed):
    assert full_hash(value) == hashed


@given(st.lists(st.integers(0, MASK), unique=True, max_size=200))
def test_avalanche_is_a_bijection(values):
    assert len(set(map(full_hash, values))) == len(values)


@pytest.mark.parametrize(
    ("data", "seed", "hashed"),
    [
        (b"", 0, 0x02CC5D05),
        (b"", 1, 0x0B2CB792),
        (b"a", 0, 0x550D7456),
        (b"abc", 0, 0x32D153FF),
        (b"Nobody inspects the spammish repetition", 0, 0xE2293B2F),
    ],
)
def test_xxh32(data, seed, hashed):
    """Values published with the reference implementation and its bindings."""
    assert xxh32(data, seed) == hashed


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (b"", 0),
        (b"12ab", 12),
        (b"-1", MASK),
        (b"+7", 7),
        (b"x1", 0),
        (b"-", 0),
        (b"0" * 40 + b"9", 9),
        (b"4294967301", 5),
        (b"9" * 30, (2**63 - 1) & MASK),
        (b"-" + b"9" * 30, 0),
    ],
)
def test_no_function_reads_a_number(token, value):
    assert number(token) == value


@pytest.mark.parametrize(("name", "plain"), [("sdbm", sdbm), ("djb2", djb2), ("wt6", wt6), ("crc32", zlib.crc32)])
def test_avalanche_is_applied_to_the_function(name, plain):
    assert token_hash(name, avalanche=False).function(b"token") == plain(b"token")
    assert token_hash(name, avalanche=True).function(b"token") == full_hash(plain(b"token"))


def test_addresses_are_numbers():
    assert source(b"1.2.3.4") == 0x01020304
    assert source(b"2001:db8::1:2") == 0x20010DB8 ^ 0x00010002
    assert source(b"ide.example") == sdbm(b"ide.example")
    assert token_hash("source", avalanche=True).function(b"1.2.3.4") == full_hash(0x01020304)
