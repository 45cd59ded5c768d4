"""The readers of bytes have two forms: whichever a build uses, it says the same. A command tries millions more."""

import pytest
import two_forms
from hypothesis import given
from hypothesis import strategies as st

from balancer.http import query

pieces = st.lists(st.one_of(st.sampled_from(two_forms.PIECES), st.binary(max_size=3)), max_size=12).map(b"".join)


def test_mutations_of_common_input():
    two_forms.compare(3000, seed=1)


@given(pieces, st.sampled_from([b"GET", b"HEAD"]))
def test_responses(fields, method):
    two_forms.response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n", method)


@given(pieces)
def test_lines_and_targets(text):
    two_forms.line(b"GET /" + text + b" HTTP/1.")
    two_forms.target(b"/?" + text)


@pytest.mark.parametrize("name", ["token", "", "a&b", "a=b", "ä", "."])
@given(st.data())
def test_names_of_parameters(name, data):
    spelled = name.encode()
    parts = st.sampled_from([spelled, spelled + b"=", spelled[:1], b"&", b"=", b"?", b"x"])
    two_forms.target(b"/?" + b"".join(data.draw(st.lists(parts, max_size=12))), name)


def test_values_of_a_parameter():
    assert query.values(b"/a?token=1&x=2&token=&tokens=3&token=a=b?c", "token") == [b"1", b"", b"a=b?c"]
    assert query.values(b"/token=1", "token") == []
