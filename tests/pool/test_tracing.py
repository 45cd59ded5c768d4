"""Passes: only those issued here are good, and only until their end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.pool.digest import Digest
from balancer.pool.tracing import Passes

PASSES = Passes(b"k" * 32)
END = 1_800_000_000


def test_good_until_its_end():
    value = PASSES.issue(END).encode()
    assert PASSES.valid(value, END - 0.001)
    assert not PASSES.valid(value, END)


def test_only_with_our_key():
    assert not Passes(b"x" * 32).valid(PASSES.issue(END).encode(), 0)


@given(st.binary(max_size=60))
def test_anything_else_is_no_pass(value):
    assert not PASSES.valid(value, 0.0)


@given(place=st.integers(0, 60), other=st.integers(0, 255))
def test_no_byte_of_a_pass_may_change(place, other):
    value = bytearray(PASSES.issue(END).encode())
    place %= len(value)
    if chr(value[place]).lower() != chr(other).lower():  # the end is a number in any case of letters
        value[place] = other
        assert not PASSES.valid(bytes(value), 0.0)


@pytest.mark.parametrize("end", ["0", "-1", "1_0", " 1", "f" * 4000, "\u0661"])
def test_ends_that_are_no_times(end):
    mac = PASSES.issue(END).partition(".")[2]
    assert not PASSES.valid(f"{end}.{mac}".encode(), 0.0)


def test_a_digest_tells_users_apart_and_names_nobody():
    digest = Digest(b"key")
    assert digest(b"ann") == digest(b"ann")
    assert len({digest(b"ann"), digest(b"bob"), Digest(b"other")(b"ann")}) == 3
    assert len(digest(b"ann")) == 16
    int(digest(b"ann"), 16)
