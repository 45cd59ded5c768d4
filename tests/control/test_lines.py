"""Lines read from either end, whatever their lengths are."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.store import lines as module
from balancer.store.lines import lines_back, lines_from, whole_size


@pytest.fixture(autouse=True, scope="module")
def small_parts():
    before, module.PART = module.PART, 7
    yield
    module.PART = before


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=12), st.binary(max_size=20))
def test_either_way(lines, torn):
    torn = torn.replace(b"\n", b"")
    fd = os.memfd_create("lines")
    try:
        os.write(fd, b"".join(line + b"\n" for line in lines) + torn)
        end = whole_size(fd)
        assert end == sum(len(line) + 1 for line in lines)
        begins = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines) + 1)]
        assert list(lines_back(fd, end)) == list(zip(begins, lines, strict=False))[::-1]
        for number, begin in enumerate(begins):
            assert list(lines_from(fd, begin, end)) == list(zip(begins[number + 1 :], lines[number:], strict=True))
            assert list(lines_back(fd, begin)) == list(zip(begins, lines[:number], strict=False))[::-1]
    finally:
        os.close(fd)
